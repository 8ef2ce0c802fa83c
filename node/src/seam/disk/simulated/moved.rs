//! What was moved from one directory to another. A file system has both changes or neither: a file is never lost between two
//! directories, and never in both. Until either is synced it may have neither.

use std::io;

use super::directory::Directory;
use super::history::Event;
use super::random::Random;
use super::{InodeNumber, State};

/// A file or a folder that was moved.
#[derive(Debug, Clone)]
pub(super) struct Move {
    name: String,
    from: usize,
    to: usize,
    what: Moved,
}

#[derive(Debug, Clone, Copy)]
enum Moved {
    File(InodeNumber),
    Folder(usize),
}

impl State {
    pub(super) fn move_into(&mut self, directory: usize, name: &str, folder: &str) -> io::Result<()> {
        let to = *self.directory(directory)?.subdirs.get(folder).ok_or(io::ErrorKind::NotFound)?;
        let target = self.directory(to)?;
        if target.names.contains_key(name) || target.subdirs.contains_key(name) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        let source = self.directory(directory)?;
        let what = match source.names.remove(name) {
            Some(inode) => Moved::File(inode),
            None => Moved::Folder(source.subdirs.remove(name).ok_or(io::ErrorKind::NotFound)?),
        };
        let target = self.directory(to)?;
        match what {
            Moved::File(inode) => drop(target.names.insert(name.to_owned(), inode)),
            Moved::Folder(number) => drop(target.subdirs.insert(name.to_owned(), number)),
        }
        self.moves.push(Move { name: name.to_owned(), from: directory, to, what });
        self.note(|| Event::MoveInto { directory, name: name.to_owned(), folder: folder.to_owned() });
        Ok(())
    }

    /// What was moved out of a directory that is synced, or into it, is there for good.
    pub(super) fn keep_moves(&mut self, directory: usize) {
        let (kept, pending) = std::mem::take(&mut self.moves)
            .into_iter()
            .partition::<Vec<_>, _>(|moved| moved.from == directory || moved.to == directory);
        self.moves = pending;
        for moved in kept {
            let Moved::File(inode) = moved.what else { continue };
            if let Some(source) = self.directories.get_mut(moved.from) {
                source.durable.remove(&moved.name);
            }
            if let Some(target) = self.directories.get_mut(moved.to) {
                target.durable.insert(moved.name, inode);
            }
        }
    }
}

/// Each move that was not synced has happened (with a chance of `odds` percent) or not. Of a file the device still has the old
/// place, of a folder the new one: folders are made durably, so nothing else is kept of them.
pub(super) fn after_power_cut(moves: &[Move], directories: &mut [Directory], random: &mut Random, odds: u64) {
    for Move { name, from, to, what } in moves {
        let has_happened = random.below(100) < odds;
        match what {
            Moved::File(inode) if has_happened => {
                let there = directories.get_mut(*from).and_then(|source| {
                    source.durable.remove(name);
                    source.names.remove(name)
                });
                if let Some(target) = directories.get_mut(*to).filter(|_| there == Some(*inode)) {
                    target.durable.insert(name.clone(), *inode);
                    target.names.insert(name.clone(), *inode);
                }
            }
            Moved::Folder(number) if !has_happened => {
                if let Some(target) = directories.get_mut(*to) {
                    target.subdirs.remove(name);
                }
                if let Some(source) = directories.get_mut(*from) {
                    source.subdirs.insert(name.clone(), *number);
                }
            }
            Moved::File(_) | Moved::Folder(_) => {}
        }
    }
}
