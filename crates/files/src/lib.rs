//! Answers with the files of a directory: conditional requests, ranges, precompressed files beside the plain ones.
//!
//! Reading a disk takes a thread for as long as the disk likes, so all of it is done on the runtime's blocking threads: one
//! hop for a request (find, judge, read the first piece), and one for each further piece while the one before it is sent.

#![forbid(unsafe_code)]

mod answer;
mod content_type;
pub mod faults;
mod listing;
mod lookup;
mod open;
mod precondition;
mod range;
mod stream;
#[cfg(test)]
mod tests;
mod validators;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use tollgate_config::model;
use tollgate_core::diagnostic::Diagnostic;
use tollgate_core::exchange::Exchange;
use tollgate_core::handler::Handler;
use tollgate_core::head::Method;
use tollgate_core::policy::BoxFuture;
use tollgate_core::problem::Problem;
use tollgate_core::reply::Reply;
use tollgate_transform::coding::Coding;

use crate::answer::Asked;
use crate::faults::{FAILED, METHOD};

/// Answers with the files of a directory.
#[derive(Debug)]
pub struct Files(Arc<Site>);

/// A directory, and how its files are shown.
#[derive(Debug)]
struct Site {
    dir: PathBuf,
    /// Segments of a request's path that the route itself matches: what follows is the path below the directory.
    skip: usize,
    index: Option<String>,
    lists: bool,
    precompressed: Vec<Coding>,
    cache: Option<Bytes>,
    spa: Option<String>,
    types: Vec<(String, Bytes)>,
}

impl Files {
    /// For a route whose path has so many segments before its `**`.
    ///
    /// # Errors
    /// The directory is not there.
    pub fn build(written: &model::Files, skip: usize) -> Result<Self, Diagnostic> {
        let dir = directory(written);
        if !dir.is_dir() {
            let mistake = Diagnostic::error(format!("there is no directory `{}`", dir.display())).at(&written.dir.span);
            return Err(mistake.hint("a relative path begins where the file of the config is"));
        }
        let bytes = |value: &model::FieldValue| Bytes::copy_from_slice(value.as_str().as_bytes());
        let mut precompressed = Vec::new();
        for coding in written.precompressed.iter().flatten() {
            let coding = match coding {
                model::Precompressed::Br => Coding::Br,
                model::Precompressed::Zstd => Coding::Zstd,
                model::Precompressed::Gzip => Coding::Gzip,
            };
            if !precompressed.contains(&coding) {
                precompressed.push(coding);
            }
        }
        let types = written.types.iter().flat_map(|types| &types.0);
        Ok(Self(Arc::new(Site {
            dir,
            skip,
            index: match &written.index {
                model::Index::None => None,
                model::Index::Name(name) => Some(name.clone()),
            },
            lists: written.listing == model::Listing::On,
            precompressed,
            cache: written.cache.as_ref().map(bytes),
            spa: written.spa.as_ref().map(|path| path.below().to_owned()),
            types: types.map(|(end, value)| (end.clone(), bytes(value))).collect(),
        })))
    }
}

/// Where the directory is: a relative path begins where the file is in which it stands.
fn directory(written: &model::Files) -> PathBuf {
    let from = Path::new(&written.dir.span.source.name).parent().unwrap_or(Path::new(""));
    let dir = Path::new(&written.dir.value);
    let dir = from.join(dir.strip_prefix(".").unwrap_or(dir));
    if dir.as_os_str().is_empty() { PathBuf::from(".") } else { dir }
}

impl Handler for Files {
    fn call<'a>(&'a self, x: &'a mut Exchange) -> BoxFuture<'a, Result<Reply, Problem>> {
        Box::pin(async move {
            if !matches!(x.head.method, Method::Get | Method::Head) {
                let detail = format!("{} is not taken by files", x.head.method_text());
                return Err(METHOD.problem().detail(detail).header("Allow", "GET, HEAD"));
            }
            let (site, asked) = (Arc::clone(&self.0), Asked::of(x, self.0.skip)?);
            let answered = tokio::task::spawn_blocking(move || site.answer(&asked)).await;
            answered.unwrap_or_else(|stopped| Err(FAILED.problem().cause(stopped)))
        })
    }

    fn describe(&self) -> String {
        format!("files of {}", self.0.dir.display())
    }
}
