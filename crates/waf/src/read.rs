//! Files of rules as lines of words: comments gone, continued lines joined, and every word knows where it stands.

use std::collections::VecDeque;
use std::fs;
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::mistake::Mistake;

/// Largest file, in bytes.
pub(crate) const LARGEST: u64 = 4 << 20;
/// Most files of one set of rules.
const MOST_FILES: usize = 1000;
/// Most files that include one another.
const DEEPEST: usize = 8;
/// Most directives of one set of rules.
const MOST_LINES: usize = 50_000;

/// A directive with its words.
#[derive(Debug)]
pub(crate) struct Directive {
    pub(crate) line: Line,
    pub(crate) name: Word,
    pub(crate) words: Vec<Word>,
}

/// A line of a file, with those that continue it.
#[derive(Debug)]
pub(crate) struct Line {
    pub(crate) file: Arc<Path>,
    text: String,
    /// Where in `text` a line of the file begins: offset, its number, and the column of its first byte.
    starts: Vec<(usize, usize, usize)>,
}

/// A word, without its quotes.
#[derive(Debug)]
pub(crate) struct Word {
    pub(crate) text: String,
    /// Where in the line.
    pub(crate) at: usize,
}

impl Line {
    /// Line and column of this offset.
    pub(crate) fn place(&self, at: usize) -> (usize, usize) {
        let start = self.starts.iter().rev().find(|(offset, ..)| *offset <= at);
        let (offset, line, column) = start.copied().unwrap_or((0, 1, 1));
        (line, column + self.text.get(offset..at).map_or(0, |before| before.chars().count()))
    }

    /// A mistake at this offset.
    pub(crate) fn mistake(&self, at: usize, what: impl Into<String>) -> Mistake {
        let (line, column) = self.place(at);
        Mistake { file: self.file.display().to_string(), line, column, what: what.into(), hint: None }
    }
}

impl Directive {
    /// A mistake of its name.
    pub(crate) fn mistake(&self, what: impl Into<String>) -> Mistake {
        self.line.mistake(self.name.at, what)
    }
}

/// What was read, to know later whether it is the same still.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    files: Vec<(PathBuf, Option<Stamp>)>,
    /// Folders, names in them, and what these meant.
    names: Vec<(PathBuf, String, Vec<PathBuf>)>,
}

/// What tells one version of a file from another: length, inode, and when it was written.
type Stamp = (u64, u64, i64, i64);

impl Seen {
    /// What a file says; it is looked at first, so that no change between goes unnoticed.
    pub(crate) fn content(&mut self, path: &Path) -> Result<String, String> {
        self.files.push((path.to_owned(), stamp(path)));
        content(path)
    }

    /// The files that a name means.
    fn matching(&mut self, base: &Path, name: &str) -> Result<Vec<PathBuf>, String> {
        let found = matching(base, name);
        self.names.push((base.to_owned(), name.to_owned(), found.clone().unwrap_or_default()));
        found
    }

    /// Takes over what another one saw.
    pub(crate) fn and(&mut self, other: Self) {
        self.files.extend(other.files);
        self.names.extend(other.names);
    }

    /// Whether something is other than it was.
    pub(crate) fn has_changed(&self) -> bool {
        self.files.iter().any(|(path, was)| stamp(path) != *was)
            || self.names.iter().any(|(base, name, were)| matching(base, name).unwrap_or_default() != *were)
    }
}

fn stamp(path: &Path) -> Option<Stamp> {
    fs::metadata(path).ok().map(|about| (about.len(), about.ino(), about.mtime(), about.mtime_nsec()))
}

/// The directives of these files, in the order in which they hold; those that are included stand where they are included. A name
/// may have `*` and `?` in its last part, and `base` is where relative ones begin.
pub(crate) fn files(names: &[String], base: &Path) -> Result<(Vec<Directive>, Seen), Mistake> {
    let mut reading = Reading { directives: Vec::new(), seen: Seen::default() };
    for name in names {
        for path in reading.seen.matching(base, name).map_err(|what| Mistake::of_file(name, what))? {
            reading.file(&path, 1)?;
        }
    }
    Ok((reading.directives, reading.seen))
}

/// The directives of a text, as if a file of this name had it. It includes nothing.
pub(crate) fn text(name: &Path, text: &str) -> Result<Vec<Directive>, Mistake> {
    lines(&name.into(), text)?.into_iter().map(Line::directive).collect()
}

struct Reading {
    directives: Vec<Directive>,
    seen: Seen,
}

impl Reading {
    fn file(&mut self, path: &Path, depth: usize) -> Result<(), Mistake> {
        let told = |what: String| Mistake::of_file(path.display().to_string(), what);
        if self.seen.files.len() >= MOST_FILES {
            return Err(told(format!("more than {MOST_FILES} files of rules")));
        }
        let text = self.seen.content(path).map_err(told)?;
        for line in lines(&path.into(), &text)? {
            let directive = line.directive()?;
            let is_optional = directive.name.text.eq_ignore_ascii_case("IncludeOptional");
            if is_optional || directive.name.text.eq_ignore_ascii_case("Include") {
                self.included(&directive, depth, is_optional)?;
            } else {
                self.directives.push(directive);
            }
            if self.directives.len() > MOST_LINES {
                return Err(told(format!("more than {MOST_LINES} directives")));
            }
        }
        Ok(())
    }

    fn included(&mut self, directive: &Directive, depth: usize, is_optional: bool) -> Result<(), Mistake> {
        let [name] = &directive.words[..] else {
            return Err(directive.mistake("one file is included, or a pattern of names"));
        };
        if depth >= DEEPEST {
            return Err(directive.mistake(format!("files include one another more than {DEEPEST} deep")));
        }
        let base = directive.line.file.parent().unwrap_or(Path::new(""));
        match self.seen.matching(base, &name.text) {
            Ok(paths) => paths.iter().try_for_each(|path| self.file(path, depth + 1)),
            Err(_) if is_optional => Ok(()),
            Err(what) => Err(directive.line.mistake(name.at, format!("`{}`: {what}", name.text))),
        }
    }
}

/// What a file says.
fn content(path: &Path) -> Result<String, String> {
    let file = fs::File::open(path).map_err(|error| error.to_string())?;
    if !file.metadata().is_ok_and(|about| about.is_file()) {
        return Err("it is no file".to_owned());
    }
    let mut text = String::new();
    file.take(LARGEST + 1).read_to_string(&mut text).map_err(|error| error.to_string())?;
    if text.len() as u64 > LARGEST { Err(format!("it is larger than {LARGEST} bytes")) } else { Ok(text) }
}

/// The files that a name means, in the order of their names.
fn matching(base: &Path, name: &str) -> Result<Vec<PathBuf>, String> {
    let path = base.join(name);
    let last = path.file_name().and_then(|last| last.to_str()).unwrap_or_default();
    if !last.contains(['*', '?']) {
        return if path.is_file() { Ok(vec![path]) } else { Err("there is no such file".to_owned()) };
    }
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let entries = fs::read_dir(folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    let names = entries.take(100_000).filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    let mut found: Vec<PathBuf> =
        names.filter(|name| fits(last.as_bytes(), name.as_bytes())).map(|name| folder.join(name)).collect();
    found.retain(|path| path.is_file());
    found.sort();
    if found.is_empty() { Err("no file has such a name".to_owned()) } else { Ok(found) }
}

/// Whether a name fits a pattern of `*` and `?`.
fn fits(pattern: &[u8], name: &[u8]) -> bool {
    let (mut p, mut n, mut back) = (0, 0, None);
    while n < name.len() {
        match pattern.get(p) {
            Some(b'*') => {
                back = Some((p + 1, n));
                p += 1;
            }
            Some(one) if *one == b'?' || *one == name[n] => (p, n) = (p + 1, n + 1),
            _ => match back {
                Some((after, from)) => {
                    (p, n) = (after, from + 1);
                    back = Some((after, from + 1));
                }
                None => return false,
            },
        }
    }
    pattern[p..].iter().all(|rest| *rest == b'*')
}

/// Lines that say something, with what continues them.
fn lines(file: &Arc<Path>, text: &str) -> Result<Vec<Line>, Mistake> {
    let mut found = Vec::new();
    let mut numbered: VecDeque<(usize, &str)> = text.lines().enumerate().map(|(at, line)| (at + 1, line)).collect();
    while let Some((number, first)) = numbered.pop_front() {
        let start = first.trim_start();
        if start.is_empty() || start.starts_with('#') {
            continue;
        }
        let column = first.len() - start.len() + 1;
        let mut line = Line { file: Arc::clone(file), text: String::new(), starts: vec![(0, number, column)] };
        let mut part = start.trim_end();
        while let Some(continued) = part.strip_suffix('\\') {
            line.text.push_str(continued);
            let Some((number, next)) = numbered.pop_front() else {
                return Err(line.mistake(line.text.len(), "the file ends where this line goes on"));
            };
            line.starts.push((line.text.len(), number, 1));
            part = next.trim_end();
        }
        line.text.push_str(part);
        found.push(line);
    }
    Ok(found)
}

impl Line {
    /// The line as words: behind blanks, or in quotes, in which `\"` is one of them.
    fn directive(self) -> Result<Directive, Mistake> {
        let mut words = VecDeque::new();
        let mut at = 0;
        while let Some(skipped) = self.text[at..].find(|c: char| !c.is_whitespace()) {
            at += skipped;
            let (word, end) = self.word(at)?;
            words.push_back(word);
            at = end;
        }
        let Some(name) = words.pop_front() else { return Err(self.mistake(0, "an empty line goes on")) };
        Ok(Directive { line: self, name, words: words.into() })
    }

    fn word(&self, at: usize) -> Result<(Word, usize), Mistake> {
        let rest = &self.text[at..];
        let Some(quote) = rest.chars().next().filter(|c| ['"', '\''].contains(c)) else {
            let end = rest.find(char::is_whitespace).unwrap_or(rest.len());
            return Ok((Word { text: rest[..end].to_owned(), at }, at + end));
        };
        let mut text = String::new();
        let mut chars = rest.char_indices().skip(1).peekable();
        while let Some((offset, c)) = chars.next() {
            match c {
                '\\' if chars.peek().is_some_and(|(_, next)| *next == quote) => {
                    text.push(quote);
                    chars.next();
                }
                c if c == quote => return Ok((Word { text, at: at + 1 }, at + offset + 1)),
                c => text.push(c),
            }
        }
        Err(self.mistake(at, format!("this `{quote}` has no end")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(line: &str) -> Vec<String> {
        let directive = text(Path::new("x"), line).unwrap().remove(0);
        [directive.name].into_iter().chain(directive.words).map(|word| word.text).collect()
    }

    #[test]
    fn words_stand_behind_blanks_or_in_quotes_and_lines_go_on() {
        assert_eq!(words("SecRule A|B \"@rx \\\"x\\\\s\" 'id:1'"), ["SecRule", "A|B", "@rx \"x\\\\s", "id:1"]);
        assert_eq!(words("# no\n\n  SecAction \\\n  \"id:1,\\\n   pass\""), ["SecAction", "id:1,   pass"]);
    }

    #[test]
    fn places_are_those_of_the_file() {
        let told = |text: &str| super::text(Path::new("x"), text).unwrap_err().to_string();
        assert_eq!(told("SecMarker a\n  SecRule A \"x"), "x:2:13: this `\"` has no end");
        assert_eq!(told("SecRule A \\"), "x:1:11: the file ends where this line goes on");
        let directive = text(Path::new("x"), "SecAction \\\n    \"id:1,\\\n  past\"").unwrap().remove(0);
        let word = &directive.words[0];
        let at = word.at + word.text.find("past").unwrap();
        assert_eq!(directive.line.mistake(at, "no").to_string(), "x:3:3: no");
    }

    #[test]
    fn names_fit_patterns() {
        for (pattern, name, is) in [
            ("*.conf", "a.conf", true),
            ("*.conf", "a.conf.bak", false),
            ("R*-9?1*.conf", "REQUEST-911-X.conf", true),
            ("R*-9?1*.conf", "REQUEST-912-X.conf", false),
            ("a", "a", true),
            ("*", "", true),
            ("?", "", false),
        ] {
            assert_eq!(fits(pattern.as_bytes(), name.as_bytes()), is, "{pattern} {name}");
        }
    }

    #[test]
    fn files_include_others_in_the_order_of_their_names_and_not_for_ever() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| fs::write(folder.path().join(name), text).unwrap();
        write("main.conf", "SecMarker 1\nInclude r-*.conf\nIncludeOptional none-*.conf\nSecMarker 4\n");
        write("r-b.conf", "SecMarker 3\n");
        write("r-a.conf", "SecMarker 2\n");
        let read = |name: &str| files(&[name.to_owned()], folder.path());
        let found: Vec<String> = read("main.conf").unwrap().0.into_iter().map(|d| d.words[0].text.clone()).collect();
        assert_eq!(found, ["1", "2", "3", "4"]);
        let seen = read("main.conf").unwrap().1;
        assert!(!seen.has_changed());
        write("r-c.conf", "SecMarker 5\n");
        assert!(seen.has_changed(), "there is one more");
        let seen = read("main.conf").unwrap().1;
        write("none-1.conf", "SecMarker 6\n");
        assert!(seen.has_changed(), "there is one at all");
        fs::remove_file(folder.path().join("none-1.conf")).unwrap();
        let seen = read("main.conf").unwrap().1;
        write("r-a.conf", "SecMarker twenty\n");
        assert!(seen.has_changed());
        write("circle.conf", "Include circle.conf\n");
        assert!(read("circle.conf").unwrap_err().what.contains("8 deep"));
        write("lost.conf", "\nInclude none.conf\n");
        assert!(
            read("lost.conf").unwrap_err().to_string().ends_with("lost.conf:2:9: `none.conf`: there is no such file")
        );
        assert_eq!(read("none-*.conf").unwrap_err().what, "no file has such a name");
    }
}
