//! One thread that runs the tasks of one part of the test.

use std::future::Future;
use std::thread::{self, JoinHandle};

use tokio::runtime::{Builder, Handle};
use tokio::sync::oneshot;
use tokio::task;

/// Runs until it is dropped; its tasks end with it.
#[derive(Debug)]
pub(crate) struct Runner {
    handle: Handle,
    over: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Runner {
    pub(crate) fn start(name: &str) -> Self {
        let runtime = Builder::new_current_thread().enable_all().build().expect("a runtime");
        let handle = runtime.handle().clone();
        let (over, is_over) = oneshot::channel();
        let run = move || {
            let _ = runtime.block_on(is_over);
        };
        let thread = thread::Builder::new().name(name.to_owned()).spawn(run).expect("a thread");
        Self { handle, over: Some(over), thread: Some(thread) }
    }

    pub(crate) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) -> task::JoinHandle<()> {
        self.handle.spawn(task)
    }

    pub(crate) fn handle(&self) -> &Handle {
        &self.handle
    }
}

impl Drop for Runner {
    fn drop(&mut self) {
        drop(self.over.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
