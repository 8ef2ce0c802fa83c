//! The promises of the node's library, one module each; the list of modules is the list of promises.

#[cfg(test)]
mod engine_client;
#[cfg(test)]
mod engine_crash;
#[cfg(test)]
mod engine_damage;
#[cfg(test)]
mod engine_failed_writes;
#[cfg(test)]
mod engine_faults;
#[cfg(test)]
mod engine_model;
#[cfg(test)]
mod engine_relaxed;
#[cfg(test)]
mod engine_restart;
#[cfg(test)]
mod engine_snapshots;
#[cfg(test)]
mod engine_world;
#[cfg(test)]
mod fork_ends;
#[cfg(test)]
mod formats;
#[cfg(test)]
mod frames;
#[cfg(test)]
mod free_address;
#[cfg(test)]
mod full_volume;
#[cfg(test)]
mod gated_disk;
#[cfg(test)]
mod log_basics;
#[cfg(test)]
mod log_beginning;
#[cfg(test)]
mod log_crash;
#[cfg(test)]
mod log_damage;
#[cfg(test)]
mod log_faults;
#[cfg(test)]
mod log_model;
#[cfg(test)]
mod metrics;
#[cfg(test)]
mod put_back;
#[cfg(test)]
mod refused_starts;
#[cfg(test)]
mod seeding_crash;
#[cfg(test)]
mod seeding_faults;
#[cfg(test)]
mod snapshot_crash;
#[cfg(test)]
mod snapshot_cut;
#[cfg(test)]
mod snapshot_damage;
#[cfg(test)]
mod snapshot_tool;
#[cfg(test)]
mod snapshot_world;
#[cfg(test)]
mod start_under_way;
#[cfg(test)]
mod subscription_requests;
#[cfg(test)]
mod subscription_wakes;
#[cfg(test)]
mod subscription_world;
#[cfg(test)]
mod table_crash;
#[cfg(test)]
mod table_damage;
#[cfg(test)]
mod table_disk;
#[cfg(test)]
mod table_faults;
#[cfg(test)]
mod table_files;
#[cfg(test)]
mod table_lookup;
#[cfg(test)]
mod table_model;
#[cfg(test)]
mod table_speed;
#[cfg(test)]
mod tier;
#[cfg(test)]
mod volume;
