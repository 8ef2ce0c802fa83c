//! Hands random bytes to [`thalweg_fuzz::admin`].
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| thalweg_fuzz::admin(bytes));
