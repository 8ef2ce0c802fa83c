//! Hands random bytes to [`thalweg_fuzz::subscription_fact`].
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| thalweg_fuzz::subscription_fact(bytes));
