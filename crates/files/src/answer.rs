//! From what was asked to the answer. Waits for the disk.

use std::borrow::Cow;
use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;

use bytes::Bytes;
use rustix::fs::Stat;
use rustix::io::Errno;
use tollgate_core::body::{Body, Length};
use tollgate_core::exchange::Exchange;
use tollgate_core::head::{Fields, Method};
use tollgate_core::problem::Problem;
use tollgate_core::reply::Reply;
use tollgate_transform::accept::{Accepted, Choice};
use tollgate_transform::coding::Coding;

use crate::Site;
use crate::faults::{FAILED, FORBIDDEN, NOT_FOUND, PRECONDITION, RANGE};
use crate::lookup::Below;
use crate::open::{self, Opened};
use crate::precondition::{Preconditions, Verdict};
use crate::range::{self, Range, Ranges};
use crate::stream::{PIECE, Part, Pieces};
use crate::validators::Validators;
use crate::{content_type, listing};

/// A request, as far as it concerns files.
#[derive(Debug)]
pub(crate) struct Asked {
    is_head: bool,
    below: Below,
    /// The path as the client sees it, and its query: where a directory leads to.
    path: String,
    query: Option<String>,
    /// The client shows pages.
    wants_page: bool,
    accepted: Accepted,
    preconditions: Preconditions,
    range: Option<Vec<u8>>,
    /// Between the parts of an answer with several ranges.
    boundary: String,
}

impl Asked {
    pub(crate) fn of(x: &Exchange, skip: usize) -> Result<Self, Problem> {
        let fields = &x.head.fields;
        let below = Below::of(x.head.path(), skip).ok_or_else(|| NOT_FOUND.problem())?;
        let has_end = below.path.rsplit(|b| *b == b'/').next().is_some_and(|name| name.contains(&b'.'));
        Ok(Self {
            is_head: x.head.method == Method::Head,
            path: x.head.path().to_owned(),
            query: x.head.query().map(str::to_owned),
            wants_page: !has_end || fields.all("accept").any(|line| contains(line, b"text/html")),
            below,
            accepted: Accepted::read(fields.all("accept-encoding")),
            preconditions: Preconditions::of(fields),
            // RFC 9110 §14.2: ranges are for `GET` only.
            range: (x.head.method == Method::Get).then(|| fields.get("range").map(<[u8]>::to_vec)).flatten(),
            boundary: format!("{:032x}{:016x}", x.trace.id, x.trace.span),
        })
    }
}

fn contains(text: &[u8], part: &[u8]) -> bool {
    text.windows(part.len()).any(|window| window.eq_ignore_ascii_case(part))
}

/// A file that is to be sent.
struct Found {
    file: File,
    stat: Stat,
    /// The path of the plain file.
    path: Vec<u8>,
    coding: Option<Coding>,
}

/// What is at a path.
enum Place {
    File(Found),
    /// A directory that was asked for without a slash.
    Directory,
    /// A directory without an index, that may be listed.
    Listed(OwnedFd),
}

impl Site {
    /// The answer.
    pub(crate) fn answer(&self, asked: &Asked) -> Result<Reply, Problem> {
        let root = open::root(&self.dir).map_err(|error| FAILED.problem().cause(error))?;
        match self.find(&root, asked)? {
            Place::File(found) => self.send(asked, self.stored(&root, asked, found)?),
            Place::Directory => Ok(redirect(asked)),
            Place::Listed(directory) => {
                let page = listing::page(&directory, &asked.path).map_err(problem)?;
                let reply = Reply::full(200, "text/html; charset=utf-8", page);
                let reply = reply.header("Content-Security-Policy", "default-src 'none'");
                Ok(reply.header("Cache-Control", "no-cache").header("X-Content-Type-Options", "nosniff"))
            }
        }
    }

    /// What is there, or what answers for it.
    fn find(&self, root: &OwnedFd, asked: &Asked) -> Result<Place, Problem> {
        let found = self.at(root, asked);
        match (&self.spa, &found) {
            (Some(spa), Err(missing)) if missing.fault.status == 404 && asked.wants_page => {
                match open::below(root, spa.as_bytes()).map_err(problem)? {
                    Opened::File(file, stat) => {
                        Ok(Place::File(Found { file, stat, path: spa.clone().into(), coding: None }))
                    }
                    Opened::Directory(_) | Opened::Other => Err(NOT_FOUND.problem()),
                }
            }
            _ => found,
        }
    }

    fn at(&self, root: &OwnedFd, asked: &Asked) -> Result<Place, Problem> {
        let Below { path, is_directory } = &asked.below;
        match open::below(root, path).map_err(problem)? {
            Opened::File(file, stat) if !is_directory => {
                Ok(Place::File(Found { file, stat, path: path.clone(), coding: None }))
            }
            Opened::Directory(_) if !is_directory => Ok(Place::Directory),
            Opened::Directory(directory) => self.index(root, path, directory),
            Opened::File(..) | Opened::Other => Err(NOT_FOUND.problem()),
        }
    }

    fn index(&self, root: &OwnedFd, path: &[u8], directory: OwnedFd) -> Result<Place, Problem> {
        if let Some(index) = &self.index {
            let path = if path.is_empty() { index.clone().into() } else { [path, b"/", index.as_bytes()].concat() };
            match open::below(root, &path).map_err(problem) {
                Ok(Opened::File(file, stat)) => return Ok(Place::File(Found { file, stat, path, coding: None })),
                Err(failed) if failed.fault.status != 404 => return Err(failed),
                Ok(Opened::Directory(_) | Opened::Other) | Err(_) => {}
            }
        }
        if self.lists { Ok(Place::Listed(directory)) } else { Err(NOT_FOUND.problem()) }
    }

    /// The same in the coding that the client likes best, of those that are stored beside it.
    fn stored(&self, root: &OwnedFd, asked: &Asked, plain: Found) -> Result<Found, Problem> {
        let mut stored = Vec::new();
        for coding in self.precompressed.iter().copied().filter(|coding| asked.accepted.weight(*coding) > 0) {
            let path = [&plain.path, end_of(coding)].concat();
            match open::below(root, &path).map_err(problem) {
                Ok(Opened::File(file, stat)) => stored.push((coding, file, stat)),
                Err(failed) if failed.fault.status == 500 => return Err(failed),
                Ok(_) | Err(_) => {}
            }
        }
        let Choice::Coding(chosen) = asked.accepted.choose(stored.iter().map(|(coding, ..)| *coding)) else {
            return Ok(plain);
        };
        let chosen = stored.into_iter().find(|(coding, ..)| *coding == chosen);
        Ok(match chosen {
            Some((coding, file, stat)) => Found { file, stat, coding: Some(coding), path: plain.path },
            None => plain,
        })
    }

    /// The answer with a file, or what its state makes of it.
    fn send(&self, asked: &Asked, found: Found) -> Result<Reply, Problem> {
        let validators = Validators::of(&found.stat);
        match asked.preconditions.judge(&validators) {
            Verdict::Go => {}
            Verdict::Failed => return Err(PRECONDITION.problem().header("ETag", validators.etag)),
            Verdict::NotModified => {
                let mut reply = Reply::empty(304);
                self.describe(&mut reply.head.fields, &validators);
                return Ok(reply);
            }
        }
        let size = u64::try_from(found.stat.st_size).unwrap_or(0);
        let ranges = match &asked.range {
            Some(value) if asked.preconditions.allow_range(&validators) => range::read(value, size),
            _ => Ranges::Whole,
        };
        let media_type = content_type::of(&found.path, &self.types);
        let (mut reply, parts) = match ranges {
            Ranges::Whole => {
                let reply = Reply::empty(200).header("Content-Type", media_type);
                (reply, vec![Part::File(Range { start: 0, length: size })])
            }
            Ranges::Parts(ranges) => partial(&ranges, size, media_type, &asked.boundary),
            Ranges::Outside => {
                let outside = RANGE.problem().detail(format!("the file has {size} bytes"));
                return Err(outside.header("Content-Range", format!("bytes */{size}")));
            }
        };
        let fields = &mut reply.head.fields;
        if let Some(coding) = found.coding {
            fields.add("Content-Encoding", coding.name());
        }
        fields.add("Accept-Ranges", "bytes");
        fields.add("X-Content-Type-Options", "nosniff");
        self.describe(fields, &validators);
        reply.body = body(found.file, parts, asked.is_head).map_err(problem)?;
        Ok(reply)
    }

    /// What a 304 tells as well (RFC 9110 §15.4.5).
    fn describe(&self, fields: &mut Fields, validators: &Validators) {
        fields.add("ETag", validators.etag.clone());
        fields.add("Last-Modified", validators.last_modified());
        if let Some(cache) = &self.cache {
            fields.add("Cache-Control", cache.clone());
        }
        if !self.precompressed.is_empty() {
            fields.add("Vary", "Accept-Encoding");
        }
    }
}

/// The ends of names of files that are stored in a coding.
fn end_of(coding: Coding) -> &'static [u8] {
    match coding {
        Coding::Br => b".br",
        Coding::Zstd => b".zst",
        Coding::Gzip => b".gz",
        Coding::Deflate => b".zz",
    }
}

/// A directory's path ends in a slash: links on its page would lead elsewhere without it.
fn redirect(asked: &Asked) -> Reply {
    let query = asked.query.as_ref().map_or(Cow::Borrowed(""), |query| format!("?{query}").into());
    Reply::empty(308).header("Location", format!("{}/{query}", asked.path))
}

/// The head and the parts of an answer with ranges (RFC 9110 §14.6, §15.3.7).
fn partial(ranges: &[Range], size: u64, media_type: Bytes, boundary: &str) -> (Reply, Vec<Part>) {
    if let [only] = ranges {
        let reply = Reply::empty(206).header("Content-Type", media_type);
        return (reply.header("Content-Range", only.content_range(size)), vec![Part::File(*only)]);
    }
    let mut parts = Vec::with_capacity(2 * ranges.len() + 1);
    for (number, range) in ranges.iter().enumerate() {
        let line = if number == 0 { "" } else { "\r\n" };
        let mut head = format!("{line}--{boundary}\r\nContent-Type: ").into_bytes();
        head.extend_from_slice(&media_type);
        head.extend_from_slice(format!("\r\nContent-Range: {}\r\n\r\n", range.content_range(size)).as_bytes());
        parts.push(Part::Text(head.into()));
        parts.push(Part::File(*range));
    }
    parts.push(Part::Text(format!("\r\n--{boundary}--\r\n").into()));
    (Reply::empty(206).header("Content-Type", format!("multipart/byteranges; boundary={boundary}")), parts)
}

/// A small body is read at once; a larger one, or one that nobody will read, is not.
fn body(file: File, parts: Vec<Part>, is_head: bool) -> io::Result<Body> {
    let length = parts.iter().map(Part::length).sum();
    if length <= PIECE && !is_head {
        return Pieces::whole(&file, &parts).map(Body::Full);
    }
    Ok(Body::Stream(Length::Known(length), Box::new(Pieces::new(file, parts))))
}

/// What the kernel's word means to the client.
fn problem(error: io::Error) -> Problem {
    match error.raw_os_error().map(Errno::from_raw_os_error) {
        Some(
            Errno::NOENT | Errno::NOTDIR | Errno::LOOP | Errno::XDEV | Errno::NAMETOOLONG | Errno::INVAL | Errno::NXIO,
        ) => NOT_FOUND.problem(),
        Some(Errno::ACCESS | Errno::PERM) => FORBIDDEN.problem().cause(error),
        _ => FAILED.problem().cause(error),
    }
}
