//! One workload, one checker, and the worlds that they run in.
