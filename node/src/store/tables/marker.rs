//! What is noted beside the file of a shard: how many openings of it were begun and did not end, and that it was found damaged while
//! it was served. Invariant: no start opens a file that keeps ending the process, or that is known to be damaged.

use std::io;

use super::fault::TablesError;
use super::late::is_full;
use super::open::{device, file_name};
use crate::seam::disk::Dir;
use crate::store::publish::publish;
use crate::types::ShardId;

/// Starts of the process that may end while a file is being opened before that file is refused: a crash of the
/// machine at the wrong moment is no damage, three in a row are not taken for chance.
const ATTEMPTS_MAX: u32 = 3;
/// What a marker begins with of a file that was found damaged while it was served. Persisted, keep stable.
const FOUND_DAMAGED: [u8; 1] = *b"d";

/// Notes durably that a shard's file was found damaged while it was served: no start opens it any more, and one that has somebody to
/// get another file from sets it aside.
pub fn note_damage(directory: &dyn Dir, shard: ShardId) -> io::Result<()> {
    publish(directory, &marker_name(&file_name(shard)), &FOUND_DAMAGED)
}

/// Takes that back, if it was noted: there is nothing better than that file, or it is another one.
pub fn forget_damage(directory: &dyn Dir, shard: ShardId) -> io::Result<()> {
    if !is_damage_noted(directory, shard)? {
        return Ok(());
    }
    directory.remove(&marker_name(&file_name(shard)))?;
    directory.sync()
}

/// Whether that was noted.
pub fn is_damage_noted(directory: &dyn Dir, shard: ShardId) -> io::Result<bool> {
    let mut first = [0];
    match directory.open(&marker_name(&file_name(shard))) {
        Ok(marker) => Ok(marker.read_at(&mut first, 0)? == 1 && first == FOUND_DAMAGED),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

pub(super) fn marker_name(file: &str) -> String {
    format!("{file}.opening")
}

/// The quarantine marker: written before a file is opened, removed after. Holds how many openings were begun.
pub(super) struct Marker<'a> {
    directory: &'a dyn Dir,
    name: String,
}

impl<'a> Marker<'a> {
    /// Nothing is set where damage is noted: then the file is opened only for whoever serves it already, and the note stays.
    pub(super) fn set(
        directory: &'a dyn Dir,
        file: &str,
        is_served: bool,
    ) -> Result<Option<Self>, TablesError> {
        let name = marker_name(file);
        let marker = match directory.open(&name) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            found => Some(found.map_err(|error| device(&error))?),
        };
        // One byte per opening that was begun; a marker whose byte was lost still stands for one.
        let begun = match &marker {
            None => 0,
            Some(marker) => marker.len().map_err(|error| device(&error))?.max(1),
        };
        let mut first = [0];
        if let Some(marker) = &marker
            && marker.read_at(&mut first, 0).map_err(|error| device(&error))? == 1
            && first == FOUND_DAMAGED
        {
            let reason = "it was found damaged while it was served".into();
            return if is_served { Ok(None) } else { Err(TablesError::Damaged { reason }) };
        }
        if begun >= u64::from(ATTEMPTS_MAX) {
            let attempts = u32::try_from(begun).unwrap_or(u32::MAX);
            return Err(TablesError::Quarantined { file: file.into(), attempts });
        }
        // Not synced: what the marker guards against is the end of the process, and that leaves it standing; a power
        // cut may forget it, but is not the file's fault.
        let write = || marker.map_or_else(|| directory.create(&name), Ok)?.write_at(b"o", begun);
        match write() {
            // A volume without room even for this: the file is opened unguarded rather than not at all.
            Err(error) if is_full(&error) => {}
            other => other.map_err(|error: io::Error| device(&error))?,
        }
        Ok(Some(Self { directory, name }))
    }

    pub(super) fn clear(self) -> Result<(), TablesError> {
        match self.directory.remove(&self.name) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(device(&error)),
            _ => Ok(()),
        }
    }
}
