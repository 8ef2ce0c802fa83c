//! Hands random bytes to [`thalweg_fuzz::cluster_file`].
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| thalweg_fuzz::cluster_file(bytes));
