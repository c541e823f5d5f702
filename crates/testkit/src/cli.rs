//! The binary's commands that end by themselves, in a folder of their own.

use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::{self, JoinHandle};

use tempfile::TempDir;

use crate::deadline::{Deadline, PATIENCE, pause};

/// A folder with config files, and the binary that is called in it.
#[derive(Debug)]
pub struct Cli {
    binary: String,
    folder: TempDir,
}

/// What a command did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ran {
    /// The exit code; -1 if a signal ended it.
    pub code: i32,
    /// Its standard output.
    pub out: String,
    /// Its standard error.
    pub err: String,
}

impl Cli {
    /// An empty folder.
    ///
    /// # Panics
    /// When no folder can be made.
    #[must_use]
    pub fn new(binary: &str) -> Self {
        Self { binary: binary.to_owned(), folder: tempfile::tempdir().expect("a folder") }
    }

    /// A folder with this as its `tollgate.yaml`.
    #[must_use]
    pub fn with(binary: &str, config: &str) -> Self {
        let cli = Self::new(binary);
        cli.write("tollgate.yaml", config);
        cli
    }

    /// The folder.
    #[must_use]
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Writes a file, with the folders it needs; gives its absolute path.
    ///
    /// # Panics
    /// When it cannot be written.
    pub fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.folder.path().join(name);
        fs::create_dir_all(path.parent().expect("a file stands in a folder")).expect("its folder");
        fs::write(&path, text).expect("it is written");
        path
    }

    /// Reads a file.
    ///
    /// # Panics
    /// When it is not there or no text.
    #[must_use]
    pub fn read(&self, name: &str) -> String {
        fs::read_to_string(self.folder.path().join(name)).expect("the file")
    }

    /// Calls the binary in the folder and waits until it ends.
    ///
    /// # Panics
    /// When it does not in time.
    pub fn run(&self, arguments: &[&str]) -> Ran {
        self.run_with(arguments, &[])
    }

    /// The same, with these variables in its environment.
    ///
    /// # Panics
    /// When it does not end in time.
    pub fn run_with(&self, arguments: &[&str], variables: &[(&str, &str)]) -> Ran {
        let mut command = Command::new(&self.binary);
        command.args(arguments).current_dir(self.folder.path()).env_remove("TOLLGATE_CONFIG");
        command.envs(variables.iter().copied());
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap_or_else(|error| panic!("{}: {error}", self.binary));
        let out = read_all(child.stdout.take().expect("its output"));
        let err = read_all(child.stderr.take().expect("its messages"));
        let code = ended(&mut child);
        let text = |reader: JoinHandle<String>| reader.join().expect("the reader");
        let ran = Ran { code: code.unwrap_or(-1), out: text(out), err: text(err) };
        assert!(code.is_some(), "`{}` was ended by a signal or after {PATIENCE:?}: {ran:?}", arguments.join(" "));
        ran
    }
}

/// The exit code; `None`: a signal ended it, ours if it took too long.
fn ended(child: &mut Child) -> Option<i32> {
    let deadline = Deadline::patient();
    loop {
        if let Some(status) = child.try_wait().expect("its state") {
            return status.code();
        }
        if deadline.left().is_none() {
            let _ = child.kill();
        }
        pause();
    }
}

fn read_all(mut pipe: impl Read + Send + 'static) -> JoinHandle<String> {
    thread::spawn(move || {
        let mut bytes = Vec::new();
        let _ = pipe.read_to_end(&mut bytes);
        String::from_utf8_lossy(&bytes).into_owned()
    })
}
