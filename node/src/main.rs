//! The `node` binary: parse the configuration, hand over to [`thalweg_node`].

fn main() {}
