//! A disk with a gate in front: calls that a test names stand there until it lets them go on, so that a moment in the middle
//! of something can be looked at for as long as one likes; or one of them fails.

use std::io;
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use thalweg_node::seam::disk::{Dir, EntryKind, File};

/// Longer than anything takes that does not wait for the gate.
const PATIENCE: Duration = Duration::from_secs(60);

/// The gate.
#[derive(Debug, Clone, Default)]
pub(crate) struct Gate(Arc<(Mutex<State>, Condvar)>);

#[derive(Debug, Default)]
struct State {
    /// What is held: the beginning of the path and the kind of call.
    held: Option<(String, &'static str)>,
    standing: usize,
    /// Counts how often those who stood there were let pass.
    passes: usize,
    /// What fails: the beginning of the path, the kind of call, how many go well before, and how it fails.
    failing: Option<(String, &'static str, usize, io::ErrorKind)>,
}

impl Gate {
    /// From now on calls of this kind (`open`, `create`, `rename`, `remove`, `list`, `read`, `write`, `sync`, `sync directory`,
    /// `space`) whose path begins so are held.
    pub(crate) fn close(&self, path: &str, call: &'static str) {
        self.0.0.lock().unwrap().held = Some((path.to_owned(), call));
    }

    /// One call of this kind fails, behind so many that go well.
    pub(crate) fn fail(&self, path: &str, call: &'static str, behind: usize, error: io::ErrorKind) {
        self.0.0.lock().unwrap().failing = Some((path.to_owned(), call, behind, error));
    }

    /// Nothing fails any more; says whether something was still to fail.
    pub(crate) fn mend(&self) -> bool {
        self.0.0.lock().unwrap().failing.take().is_some()
    }

    /// Everybody goes on.
    pub(crate) fn open(&self) {
        self.0.0.lock().unwrap().held = None;
        self.0.1.notify_all();
    }

    /// Those who stand there go on; who comes later is held again.
    pub(crate) fn let_pass(&self) {
        let mut state = self.0.0.lock().unwrap();
        state.passes += 1;
        state.standing = 0;
        self.0.1.notify_all();
    }

    /// Waits until a call is held.
    pub(crate) fn arrival(&self) {
        let state = self.0.0.lock().unwrap();
        let waited = self.0.1.wait_timeout_while(state, PATIENCE, |state| state.standing == 0);
        assert!(waited.unwrap().0.standing > 0, "nobody came to the gate");
    }

    fn pass(&self, path: &str, call: &str) -> io::Result<()> {
        let mut state = self.0.0.lock().unwrap();
        if let Some((failing, kind, behind, error)) = &mut state.failing
            && *kind == call
            && path.starts_with(&*failing)
        {
            if *behind == 0 {
                let error = *error;
                state.failing = None;
                return Err(error.into());
            }
            *behind -= 1;
        }
        let is_held = |state: &State| {
            state.held.as_ref().is_some_and(|(held, kind)| *kind == call && path.starts_with(held))
        };
        if !is_held(&state) {
            return Ok(());
        }
        let passes = state.passes;
        state.standing += 1;
        self.0.1.notify_all();
        state = self.0.1.wait_while(state, |state| state.passes == passes && is_held(state)).unwrap();
        if state.passes == passes {
            state.standing -= 1;
        }
        Ok(())
    }
}

/// A directory behind a gate.
#[derive(Debug)]
pub(crate) struct GatedDir {
    inner: Arc<dyn Dir>,
    path: String,
    gate: Gate,
}

impl GatedDir {
    /// The topmost one.
    pub(crate) fn root(inner: Arc<dyn Dir>, gate: &Gate) -> Arc<dyn Dir> {
        Arc::new(Self { inner, path: String::new(), gate: gate.clone() })
    }

    fn pass(&self, name: &str, call: &str) -> io::Result<()> {
        self.gate.pass(&format!("{}{name}", self.path), call)
    }

    fn file(&self, name: &str, inner: Arc<dyn File>) -> Arc<dyn File> {
        Arc::new(GatedFile { inner, path: format!("{}{name}", self.path), gate: self.gate.clone() })
    }
}

impl Dir for GatedDir {
    fn open(&self, name: &str) -> io::Result<Arc<dyn File>> {
        self.pass(name, "open")?;
        Ok(self.file(name, self.inner.open(name)?))
    }

    fn create(&self, name: &str) -> io::Result<Arc<dyn File>> {
        self.pass(name, "create")?;
        Ok(self.file(name, self.inner.create(name)?))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.pass(from, "rename")?;
        self.inner.rename(from, to)
    }

    fn move_into(&self, name: &str, folder: &str) -> io::Result<()> {
        self.pass(name, "move")?;
        self.inner.move_into(name, folder)
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.pass(name, "remove")?;
        self.inner.remove(name)
    }

    fn entries(&self) -> io::Result<Vec<(String, EntryKind)>> {
        self.pass("", "list")?;
        self.inner.entries()
    }

    fn sync(&self) -> io::Result<()> {
        self.pass("", "sync directory")?;
        self.inner.sync()
    }

    fn subdir(&self, name: &str) -> io::Result<Arc<dyn Dir>> {
        let (inner, path) = (self.inner.subdir(name)?, format!("{}{name}/", self.path));
        Ok(Arc::new(Self { inner, path, gate: self.gate.clone() }))
    }

    fn total_bytes(&self) -> io::Result<u64> {
        self.inner.total_bytes()
    }

    fn free_bytes(&self) -> io::Result<u64> {
        self.pass("", "space")?;
        self.inner.free_bytes()
    }
}

#[derive(Debug)]
struct GatedFile {
    inner: Arc<dyn File>,
    path: String,
    gate: Gate,
}

impl File for GatedFile {
    fn read_at(&self, buffer: &mut [u8], position: u64) -> io::Result<usize> {
        self.gate.pass(&self.path, "read")?;
        self.inner.read_at(buffer, position)
    }

    fn write_at(&self, bytes: &[u8], position: u64) -> io::Result<()> {
        self.gate.pass(&self.path, "write")?;
        self.inner.write_at(bytes, position)
    }

    fn sync(&self) -> io::Result<()> {
        self.gate.pass(&self.path, "sync")?;
        self.inner.sync()
    }

    fn allocate(&self, length: u64) -> io::Result<()> {
        self.inner.allocate(length)
    }

    fn set_len(&self, length: u64) -> io::Result<()> {
        self.inner.set_len(length)
    }

    fn len(&self) -> io::Result<u64> {
        self.inner.len()
    }

    fn stored_bytes(&self) -> io::Result<u64> {
        self.inner.stored_bytes()
    }

    fn forget_cached(&self) {
        self.inner.forget_cached();
    }

    fn lock(&self) -> io::Result<bool> {
        self.inner.lock()
    }
}
