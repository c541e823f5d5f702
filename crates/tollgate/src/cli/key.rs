//! `tollgate key`: makes API keys and tells of them. A key is told once; the list keeps its keyed hash alone.

use std::fmt::Write as _;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::{Args, Subcommand};
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};
use tollgate_config::Part;
use tollgate_config::model::{ApiKeys, AuthSource};
use tollgate_core::clock::Clock;
use tollgate_identity::api_key::{List, Pepper, Record, generate};
use tollgate_identity::private_file::replace_alike;

use crate::cli::output::{Failure, Output};
use crate::cli::run::load_part;
use crate::cli::{ConfigArgs, failure};
use crate::sources;

/// What can be done.
#[derive(Clone, Debug, Subcommand)]
pub(crate) enum KeyCommand {
    /// Make a key for an application, and tell it: it cannot be shown again.
    #[command(
        after_help = "Examples:\n  tollgate key create shop --scopes orders.read,orders.write --expires 90d\n  tollgate key create shop \
                            --import < key.txt        one that its clients have already"
    )]
    Create(CreateArgs),
    /// Tell which keys there are.
    #[command(after_help = "Example:\n  tollgate key list")]
    List(ListArgs),
    /// Make another key for the same application; the one before holds a while longer.
    #[command(after_help = "Example:\n  tollgate key rotate nrqw63tf --overlap 48h")]
    Rotate(RotateArgs),
    /// End a key, at once or later.
    #[command(after_help = "Examples:\n  tollgate key expire nrqw63tf\n  tollgate key expire nrqw63tf --at 2027-01-31")]
    Expire(ExpireArgs),
    /// Take keys that have ended out of the list.
    #[command(after_help = "Example:\n  tollgate key prune")]
    Prune(ListedArgs),
}

/// Which list.
#[derive(Clone, Debug, Args)]
pub(crate) struct ListedArgs {
    #[command(flatten)]
    config: ConfigArgs,
    /// The source of identity under `auth`, if several take API keys.
    #[arg(long, value_name = "NAME")]
    source: Option<String>,
}

/// Which list, and how it is told.
#[derive(Clone, Debug, Args)]
pub(crate) struct ListArgs {
    #[command(flatten)]
    listed: ListedArgs,
    /// Print it as JSON.
    #[arg(long)]
    json: bool,
}

/// What the key is for.
#[derive(Clone, Debug, Args)]
pub(crate) struct CreateArgs {
    #[command(flatten)]
    listed: ListedArgs,
    /// The application: what conditions know as `consumer`, and limits count by.
    name: String,
    /// What the key is good for, separated by commas.
    #[arg(long, value_delimiter = ',', value_name = "SCOPE,…")]
    scopes: Vec<String>,
    /// When it ends: after a time (`90d`, `12h`), or on a day (`2027-01-31`). Without it, never.
    #[arg(long, value_name = "WHEN")]
    expires: Option<String>,
    /// Take a key from standard input instead of making one.
    #[arg(long)]
    import: bool,
}

/// Which key gets a successor.
#[derive(Clone, Debug, Args)]
pub(crate) struct RotateArgs {
    #[command(flatten)]
    listed: ListedArgs,
    /// The key's id, as `tollgate key list` tells it.
    id: String,
    /// How long the one before holds on.
    #[arg(long, value_name = "TIME", default_value = "24h")]
    overlap: String,
    /// When the new key ends; without it, after as long as the one before was made for.
    #[arg(long, value_name = "WHEN")]
    expires: Option<String>,
}

/// Which key ends.
#[derive(Clone, Debug, Args)]
pub(crate) struct ExpireArgs {
    #[command(flatten)]
    listed: ListedArgs,
    /// The key's id, as `tollgate key list` tells it.
    id: String,
    /// When: after a time (`24h`), or on a day (`2027-01-31`). Without it, now.
    #[arg(long, value_name = "WHEN")]
    at: Option<String>,
}

/// Does what was asked.
pub(crate) fn key(command: &KeyCommand, output: &Output) -> Result<(), Failure> {
    match command {
        KeyCommand::Create(args) => create(args, output),
        KeyCommand::List(args) => list(args, output),
        KeyCommand::Rotate(args) => rotate(args, output),
        KeyCommand::Expire(args) => expire(args, output),
        KeyCommand::Prune(args) => prune(args, output),
    }
}

fn create(args: &CreateArgs, output: &Output) -> Result<(), Failure> {
    let book = Book::open(&args.listed)?;
    let expires = args.expires.as_deref().map(|when| moment(when, book.now)).transpose()?;
    is_word(&args.name, "a name")?;
    args.scopes.iter().try_for_each(|scope| is_word(scope, "a scope"))?;
    let pepper = book.pepper()?;
    let imported = if args.import { Some(import()?) } else { None };
    let (id, told) = book.change(|list| {
        let (id, key) = generate().map_err(failure)?;
        let key = imported.as_deref().unwrap_or(&key);
        let hash = pepper.hash(key);
        if list.keys.iter().any(|known| known.hash == hash) {
            return Err(failure("this key is in the list already"));
        }
        let (name, scopes) = (args.name.clone(), args.scopes.clone());
        list.keys.push(Record { id: id.clone(), name, scopes, created: book.now, expires, hash });
        Ok((id, key.to_owned()))
    })?;
    tell(&id, if args.import { None } else { Some(&told) }, output)
}

/// The key alone on standard output, so that it can be handed on.
fn tell(id: &str, key: Option<&str>, output: &Output) -> Result<(), Failure> {
    let Some(key) = key else {
        output.note(&format!("key {id} is in the list"));
        return Ok(());
    };
    output.note(&format!("key {id}, told this once:"));
    output.print(&format!("{key}\n"))
}

fn rotate(args: &RotateArgs, output: &Output) -> Result<(), Failure> {
    let book = Book::open(&args.listed)?;
    let (until, expires) =
        (moment(&args.overlap, book.now)?, args.expires.as_deref().map(|when| moment(when, book.now)).transpose()?);
    let pepper = book.pepper()?;
    let (id, key, until) = book.change(|list| {
        let now = book.now;
        let old = found(list, &args.id)?;
        if old.expires.is_some_and(|end| end <= now) {
            return Err(failure(format!("key {} has ended: make a new one with `tollgate key create`", old.id)));
        }
        // As long as the one before was made for, unless it is said.
        let lasts = old.expires.map(|end| end.duration_since(old.created));
        let expires = expires.or(lasts.and_then(|lasts| now.checked_add(lasts).ok()));
        let until = old.expires.map_or(until, |end| end.min(until));
        old.expires = Some(until);
        let old = old.clone();
        let (id, key) = generate().map_err(failure)?;
        let hash = pepper.hash(&key);
        list.keys.push(Record { id: id.clone(), created: now, expires, hash, ..old });
        Ok((id, key, until))
    })?;
    output.note(&format!("key {} holds until {}", args.id, shown(until)));
    tell(&id, Some(&key), output)
}

fn expire(args: &ExpireArgs, output: &Output) -> Result<(), Failure> {
    let book = Book::open(&args.listed)?;
    let end = args.at.as_deref().map_or(Ok(book.now), |when| moment(when, book.now))?;
    let name = book.change(|list| {
        let key = found(list, &args.id)?;
        if let Some(own) = key.expires.filter(|own| *own <= end) {
            let (when, id) = (shown(own), &key.id);
            return Err(failure(format!("key {id} ends {when}, which is sooner: nothing was changed")));
        }
        key.expires = Some(end);
        Ok(key.name.clone())
    })?;
    output.print(&format!("key {} of {name} ends {}\n", args.id, shown(end)))
}

fn prune(args: &ListedArgs, output: &Output) -> Result<(), Failure> {
    let book = Book::open(args)?;
    let gone = book.change(|list| {
        let before = list.keys.len();
        list.keys.retain(|key| key.expires.is_none_or(|end| end > book.now));
        Ok(before - list.keys.len())
    })?;
    let keys = if gone == 1 { "key that had ended is" } else { "keys that had ended are" };
    output.print(&format!("{gone} {keys} out of the list\n"))
}

fn list(args: &ListArgs, output: &Output) -> Result<(), Failure> {
    let book = Book::open(&args.listed)?;
    let list = book.read()?;
    let state = |key: &Record| if key.expires.is_some_and(|end| end <= book.now) { "ended" } else { "good" };
    if args.json {
        let keys = list.keys.iter().map(|key| {
            let (created, expires) = (key.created.to_string(), key.expires.map(|end| end.to_string()));
            json!({ "id": key.id, "name": key.name, "scopes": key.scopes, "created": created, "expires": expires, "state": state(key) })
        });
        return output.print(&format!("{:#}\n", json!({ "keys": keys.collect::<Vec<Value>>() })));
    }
    if list.keys.is_empty() {
        return output.print("there are no keys: `tollgate key create NAME` makes one\n");
    }
    let widest = list.keys.iter().map(|key| key.name.len()).max().unwrap_or(0).max(4);
    let mut text =
        format!("{:<8}  {:<widest$}  {:<5}  {:<20}  {:<20}  SCOPES\n", "ID", "NAME", "STATE", "CREATED", "ENDS");
    for key in &list.keys {
        let ends = key.expires.map_or_else(|| "never".to_owned(), shown);
        let scopes = key.scopes.join(",");
        let line = format!(
            "{:<8}  {:<widest$}  {:<5}  {:<20}  {ends:<20}  {scopes}",
            key.id,
            key.name,
            state(key),
            shown(key.created)
        );
        // Writing to memory does not fail.
        let _ = writeln!(text, "{}", line.trim_end());
    }
    output.print(&text)
}

fn found<'l>(list: &'l mut List, id: &str) -> Result<&'l mut Record, Failure> {
    let missing = || Failure::Other {
        message: format!("there is no key {id}"),
        hint: Some("`tollgate key list` tells which there are".to_owned()),
    };
    list.keys.iter_mut().find(|key| key.id == id).ok_or_else(missing)
}

/// A key's list and what belongs to it.
struct Book {
    keys: ApiKeys,
    data: PathBuf,
    now: Timestamp,
}

impl Book {
    fn open(args: &ListedArgs) -> Result<Self, Failure> {
        let config = load_part(&args.config.config, Part::ApiKeys)?;
        let mut all = config.auth.iter().filter_map(|(name, source)| match source {
            AuthSource::Keys(keys) if args.source.as_ref().is_none_or(|wanted| *wanted == name.value) => Some(keys),
            _ => None,
        });
        let (first, more) = (all.next().cloned(), all.next().is_some());
        let other =
            |message: &str, hint: &str| Failure::Other { message: message.to_owned(), hint: Some(hint.to_owned()) };
        let keys = match first {
            Some(_) if more => return Err(other("several sources take API keys", "say which one: `--source NAME`")),
            Some(keys) => keys,
            None => {
                let hint = "under `auth` in the config: `keys: { api_key: header X-Api-Key, file: ./keys.json }`";
                return Err(other("no such source of identity takes API keys", hint));
            }
        };
        // To the second: nobody asks for more, and it is what is shown.
        let now = Timestamp::try_from(Clock::real().unix()).and_then(|now| Timestamp::from_second(now.as_second()));
        let now = now.map_err(|error| failure(format!("the clock of this machine: {error}")))?;
        Ok(Self { keys, data: config.data.0, now })
    }

    fn path(&self) -> &Path {
        &self.keys.file.value.0
    }

    fn most(&self) -> usize {
        usize::try_from(self.keys.most.get()).unwrap_or(usize::MAX)
    }

    fn pepper(&self) -> Result<Pepper, Failure> {
        sources::pepper(&self.keys, &self.data)
            .map_err(|mistake| Failure::Other { message: mistake.message, hint: mistake.hint })
    }

    fn read(&self) -> Result<List, Failure> {
        if !self.path().exists() {
            return Ok(List::default());
        }
        List::load(self.path(), self.most()).map_err(|why| failure(format!("{}: {why}", self.path().display())))
    }

    /// Changes the list: one after the other, and whole or not at all.
    fn change<T>(&self, change: impl FnOnce(&mut List) -> Result<T, Failure>) -> Result<T, Failure> {
        let path = self.path();
        let cannot = |error: io::Error| failure(format!("cannot write {}: {error}", path.display()));
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        // The folder itself is locked: the file is another one after each change.
        let lock = File::open(folder).map_err(cannot)?;
        lock.lock().map_err(cannot)?;
        let mut list = self.read()?;
        let made = change(&mut list)?;
        if list.keys.len() > self.most() {
            let message = format!("the list would have {} keys: `most` allows {}", list.keys.len(), self.most());
            return Err(Failure::Other {
                message,
                hint: Some("`tollgate key prune` takes out those that have ended".to_owned()),
            });
        }
        replace_alike(path, list.write().as_bytes()).map_err(cannot)?;
        Ok(made)
    }
}

fn import() -> Result<String, Failure> {
    const MOST: u64 = 512;
    let mut text = String::new();
    io::stdin()
        .take(MOST + 2)
        .read_to_string(&mut text)
        .map_err(|error| failure(format!("cannot read the key: {error}")))?;
    let key = text.trim();
    let is_plain = key.bytes().all(|byte| byte.is_ascii_graphic());
    if !(16..=512).contains(&key.len()) || !is_plain {
        return Err(failure("a key has 16 to 512 printable characters: shorter ones can be guessed"));
    }
    Ok(key.to_owned())
}

fn is_word(text: &str, what: &str) -> Result<(), Failure> {
    // RFC 6749 §3.3.
    let fits = |byte: u8| matches!(byte, 0x21 | 0x23..=0x5b | 0x5d..=0x7e);
    match !text.is_empty() && text.len() <= 128 && text.bytes().all(fits) {
        true => Ok(()),
        false => Err(failure(format!("`{text}` is not {what}: printable characters without spaces, `\"` and `\\`"))),
    }
}

/// `90d`, `12h`, `1h30m`, `2027-01-31`, or a whole moment of RFC 3339.
fn moment(text: &str, now: Timestamp) -> Result<Timestamp, Failure> {
    let days = text.strip_suffix('d').and_then(|days| days.parse::<u32>().ok());
    let span = days
        .map(|days| Duration::from_secs(u64::from(days) * 86_400))
        .or_else(|| text.parse::<SignedDuration>().ok().and_then(|span| Duration::try_from(span).ok()));
    let at = match span {
        Some(span) => now.checked_add(span).ok(),
        None => text.parse().ok().or_else(|| format!("{text}T00:00:00Z").parse().ok()),
    };
    match at {
        Some(at) if at > now => Ok(at),
        Some(_) => Err(failure(format!("`{text}` is over already"))),
        None => Err(Failure::Other {
            message: format!("`{text}` is neither a time nor a day"),
            hint: Some("`90d`, `12h`, `2027-01-31` (the start of that day, UTC)".to_owned()),
        }),
    }
}

fn shown(at: Timestamp) -> String {
    format!("{at:.0}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_told_as_people_do() {
        let now: Timestamp = "2026-11-27T12:00:00Z".parse().unwrap();
        for (text, at) in [
            ("90d", "2027-02-25T12:00:00Z"),
            ("12h", "2026-11-28T00:00:00Z"),
            ("1h30m", "2026-11-27T13:30:00Z"),
            ("2027-01-31", "2027-01-31T00:00:00Z"),
            ("2027-01-31T08:00:00Z", "2027-01-31T08:00:00Z"),
        ] {
            assert_eq!(moment(text, now).unwrap().to_string(), at, "{text}");
        }
        for text in ["", "soon", "2026-11-27", "0d", "-5h", "99999999999d", "2026-13-01"] {
            assert!(moment(text, now).is_err(), "{text}");
        }
    }
}
