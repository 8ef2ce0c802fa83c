//! Nodes of a cluster in one process, over real sockets of the loopback interface and simulated disks: what only whole
//! nodes show, without processes.

#[cfg(test)]
mod acknowledging;
#[cfg(test)]
mod errands;
#[cfg(test)]
mod following;
#[cfg(test)]
#[path = "../promises/gated_disk.rs"]
mod gated_disk;
#[cfg(test)]
mod relay;
#[cfg(test)]
mod sickness;
#[cfg(test)]
mod taking_over;
#[cfg(test)]
mod world;
