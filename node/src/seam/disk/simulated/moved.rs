//! What was moved from one directory to another. A file system has both changes or neither: a file is never lost between two
//! directories, and never in both. Until both are synced it may have neither.

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
    /// Which of both were synced since.
    synced: (bool, bool),
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
        self.moves.push(Move { name: name.to_owned(), from: directory, to, what, synced: (false, false) });
        self.note(|| Event::MoveInto { directory, name: name.to_owned(), folder: folder.to_owned() });
        Ok(())
    }

    /// What was moved from one directory to another is there for good once both are synced.
    pub(super) fn keep_moves(&mut self, directory: usize) {
        for moved in &mut self.moves {
            moved.synced.0 |= moved.from == directory;
            moved.synced.1 |= moved.to == directory;
        }
        self.moves.retain(|moved| moved.synced != (true, true));
    }
}

/// Each move of which not both directories were synced has happened (with a chance of `odds` percent) or not: whatever both have by
/// themselves, the file or folder is in one of them.
pub(super) fn after_power_cut(moves: &[Move], directories: &mut [Directory], random: &mut Random, odds: u64) {
    for Move { name, from, to, what, .. } in moves {
        let place = if random.below(100) < odds { *to } else { *from };
        for number in [*from, *to] {
            let Some(directory) = directories.get_mut(number) else { continue };
            match what {
                Moved::File(inode) if directory.names.get(name) == Some(inode) => {
                    directory.names.remove(name);
                    directory.durable.remove(name);
                }
                Moved::Folder(folder) if directory.subdirs.get(name) == Some(folder) => {
                    directory.subdirs.remove(name);
                }
                Moved::File(_) | Moved::Folder(_) => {}
            }
        }
        let Some(directory) = directories.get_mut(place) else { continue };
        match what {
            Moved::File(inode) => {
                directory.names.insert(name.clone(), *inode);
                directory.durable.insert(name.clone(), *inode);
            }
            Moved::Folder(folder) => drop(directory.subdirs.insert(name.clone(), *folder)),
        }
    }
}
