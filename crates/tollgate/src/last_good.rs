//! The config that was last in force, kept in `data:` for a start with one that is wrong: for those who have asked for it
//! (`start: last-good`).

use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use tollgate_config::model::Start;
use tollgate_config::{Loaded, sources};

use crate::cli::load_texts;

/// What the file is called.
const NAME: &str = "last-good.json";

/// Keeps a config that is in force, if it asks for that.
pub(crate) fn keep(loaded: &Loaded) {
    if loaded.config.start != Start::LastGood {
        return;
    }
    let folder = &loaded.config.data.0;
    if let Err(error) = write(folder, &text(loaded)) {
        tracing::error!(%error, folder = %folder.display(), "the config in force cannot be kept as the last good one");
    }
}

fn text(loaded: &Loaded) -> String {
    let files = sources(&loaded.tree).into_iter();
    let files: Vec<Value> = files.map(|source| json!({ "name": source.name, "text": source.text })).collect();
    json!({ "files": files }).to_string()
}

/// Whole or not at all, and for nobody else to read: there may be secrets in it.
fn write(folder: &Path, text: &str) -> io::Result<()> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    let (path, new) = (folder.join(NAME), folder.join(format!("{NAME}.new")));
    // What is left of one that was not finished may have other rights.
    match fs::remove_file(&new) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&new)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    fs::rename(new, path)
}

/// The config that was kept for the one at `path`, if there is one that reads, and where it is.
pub(crate) fn find(path: &Path) -> Option<(Loaded, PathBuf)> {
    let file = folder_of(path).join(NAME);
    let kept: Value = serde_json::from_str(&fs::read_to_string(&file).ok()?).ok()?;
    let text = |of: &Value, key: &str| of[key].as_str().map(str::to_owned);
    let texts: Option<Vec<(String, String)>> =
        kept["files"].as_array()?.iter().map(|one| Some((text(one, "name")?, text(one, "text")?))).collect();
    let loaded = load_texts(&path.display().to_string(), &texts?).ok()?;
    (loaded.config.start == Start::LastGood).then_some((loaded, file))
}

/// The folder `data` of a config that cannot be relied on to be YAML: what a line `data: FOLDER` says, or the one beside it.
fn folder_of(path: &Path) -> PathBuf {
    let files: Vec<PathBuf> = match fs::read_dir(path) {
        Ok(entries) => entries.filter_map(|entry| entry.ok().map(|entry| entry.path())).collect(),
        Err(_) => vec![path.to_owned()],
    };
    let said = files.iter().find_map(|file| {
        let text = String::from_utf8_lossy(&fs::read(file).ok()?).into_owned();
        let said = text.lines().find_map(|line| line.strip_prefix("data:"))?;
        let said = said.split(" #").next().unwrap_or_default().trim().trim_matches(['"', '\'']);
        Some(file.parent()?.join(said.strip_prefix("./").unwrap_or(said)))
    });
    let beside = || files.first().and_then(|file| file.parent()).unwrap_or(Path::new("")).join("data");
    said.unwrap_or_else(beside)
}
