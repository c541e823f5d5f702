//! Other programs, as services behind the gateway or as proxies before it: nginx and HAProxy.

use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use tempfile::TempDir;

/// A program that runs with a config of its own. Dropped, it is ended.
#[derive(Debug)]
pub struct Peer {
    child: Child,
    folder: TempDir,
}

impl Peer {
    /// nginx with these contents of its `http` section, in which `{{folder}}` stands for [`Peer::folder`].
    ///
    /// # Panics
    /// When it is not installed.
    #[must_use]
    pub fn nginx(http: &str) -> Self {
        let paths: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
            .map(|of| format!("  {of}_temp_path {{{{folder}}}}/{of};\n"))
            .concat();
        // As the user of the test: another could not reach sockets in its folders.
        let user = if rustix::process::geteuid().is_root() { "user root;\n" } else { "" };
        let config = format!(
            "daemon off;\nmaster_process off;\n{user}pid {{{{folder}}}}/nginx.pid;\nerror_log stderr;\n\
             events {{}}\nhttp {{\n  access_log off;\n{paths}{http}\n}}\n"
        );
        Self::start("nginx", &config, &["-e", "stderr", "-c"])
    }

    /// HAProxy with this config, in which `{{folder}}` stands for [`Peer::folder`]; time limits are set.
    ///
    /// # Panics
    /// When it is not installed.
    #[must_use]
    pub fn haproxy(config: &str) -> Self {
        let times = "defaults\n  timeout connect 5s\n  timeout client 10s\n  timeout server 10s\n";
        Self::start("haproxy", &format!("{times}{config}"), &["-db", "-f"])
    }

    /// Runs it; the last of the arguments is the one before the config's file.
    fn start(program: &str, config: &str, arguments: &[&str]) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join(format!("{program}.conf"));
        let config = config.replace("{{folder}}", &folder.path().display().to_string());
        fs::write(&file, config).expect("its config is written");
        // Where Debian has servers, which a user's path may leave out.
        let path = std::env::var("PATH").unwrap_or_default() + ":/usr/sbin";
        let mut command = Command::new(program);
        command.args(arguments).arg(&file).env("PATH", path).stdin(Stdio::null()).stdout(Stdio::null());
        let child = command.spawn().unwrap_or_else(|error| panic!("{program}: {error}"));
        Self { child, folder }
    }

    /// A folder of its own.
    #[must_use]
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
