//! What a user sees: every file in `diagnostics/` is refused (or warned about) with exactly the text beside it.
//! `UPDATE_GOLDEN=1` writes the texts anew; read them before keeping them.

use std::fs;
use std::path::Path;

use tollgate_config::{Look, diagnose, load_text};

fn environment(name: &str) -> Option<String> {
    match name {
        "PORT" => Some("8080".into()),
        "WORKERS" => Some("2000".into()),
        "SECRET" => Some("hunter2!".into()),
        _ => None,
    }
}

fn shown(name: &str, text: &str) -> String {
    match load_text(name, text, &environment, &[]) {
        Ok(loaded) => diagnose::render_all(&loaded.warnings, Look::Plain),
        Err(report) => report.render(Look::Plain),
    }
}

#[test]
fn every_mistake_is_told_as_written_down() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/diagnostics");
    let mut files: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    let mut mistakes = 0;
    for file in files.iter().filter(|file| file.extension().is_some_and(|ext| ext == "yaml")) {
        let name = file.file_name().unwrap().to_str().unwrap();
        let shown = shown(name, &fs::read_to_string(file).unwrap());
        mistakes += shown.lines().filter(|line| line.starts_with("error:") || line.starts_with("warning:")).count();
        let golden = file.with_extension("txt");
        if std::env::var_os("UPDATE_GOLDEN").is_some() {
            fs::write(&golden, &shown).unwrap();
        }
        assert_eq!(shown, fs::read_to_string(&golden).unwrap_or_default(), "{name}");
        assert!(!shown.contains("hunter2"), "{name} shows a secret");
    }
    assert!(mistakes > 90, "only {mistakes} mistakes are told");
}
