//! The one-way signal that the process must end: a log that failed is never written again by this process.

use std::sync::Arc;

use tokio::sync::watch;

/// Reports and awaits the end.
#[derive(Debug, Clone)]
pub struct Fatal(Arc<watch::Sender<Option<Arc<str>>>>);

impl Default for Fatal {
    fn default() -> Self {
        Self(Arc::new(watch::Sender::new(None)))
    }
}

impl Fatal {
    /// The process must end for this reason. The first reason stays.
    pub(crate) fn report(&self, reason: &str) {
        tracing::error!(reason, "the node cannot go on");
        self.0.send_if_modified(|state| {
            let first = state.is_none();
            if first {
                *state = Some(reason.into());
            }
            first
        });
    }

    /// Resolves when the process must end.
    pub async fn reported(&self) -> Arc<str> {
        let mut receiver = self.0.subscribe();
        match receiver.wait_for(Option::is_some).await {
            Ok(state) => state.clone().unwrap_or_else(|| "unknown".into()),
            // The sender lives in `self`, so this is not reached; waiting is the harmless answer.
            Err(_) => std::future::pending().await,
        }
    }
}
