//! Where rules are, and that those of one config are read once, however many routes have them.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use tollgate_core::diagnostic::Diagnostic;
use tollgate_core::node::{Source, Spanned};
use tollgate_waf::{Mistake, Ruleset, Settings};

/// The word for the Core Rule Set as Debian has it.
const CRS: &str = "crs";
/// Its files, and whether they have to be there.
const CRS_FILES: [(&str, bool); 4] = [
    ("/etc/modsecurity/crs/crs-setup.conf", true),
    ("/etc/modsecurity/crs/REQUEST-900-EXCLUSION-RULES-BEFORE-CRS.conf", false),
    ("/usr/share/modsecurity-crs/rules/REQUEST-*.conf", true),
    ("/etc/modsecurity/crs/RESPONSE-999-EXCLUSION-RULES-AFTER-CRS.conf", false),
];
/// What to do if they are not.
const HINT: &str = "`apt-get install modsecurity-crs` brings the Core Rule Set; one that is elsewhere is named by its files: `rules: [/path/crs-setup.conf, \
                    /path/rules/REQUEST-*.conf]`";

/// Rules that somebody holds, by the text of the config that asked for them: another text reads them anew.
struct Known {
    by: Weak<Source>,
    settings: Settings,
    rules: Weak<Ruleset>,
}

static KNOWN: Mutex<Vec<Known>> = Mutex::new(Vec::new());

/// The rules of these files: those that another route of the same config has, or read now.
pub(super) fn shared(names: &[Spanned<String>], level: Option<u64>) -> Result<Arc<Ruleset>, Diagnostic> {
    let Some(first) = names.first() else {
        return Err(Diagnostic::error("there are no rules here").hint("`waf: crs`, or `rules: [my-rules.conf]`"));
    };
    let source = &first.span.source;
    let base = Path::new(&source.name).parent().unwrap_or(Path::new("")).to_path_buf();
    let settings = Settings { files: expanded(names.iter().map(|name| name.value.as_str())), base, level };
    let mut known = KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
    known.retain(|own| own.rules.strong_count() > 0 && own.by.strong_count() > 0);
    let is_same = |own: &&Known| std::ptr::eq(own.by.as_ptr(), Arc::as_ptr(source)) && own.settings == settings;
    if let Some(rules) = known.iter().find(is_same).and_then(|own| own.rules.upgrade()) {
        return Ok(rules);
    }
    let rules = Arc::new(Ruleset::load(&settings).map_err(|mistake| at(told(&mistake), names, &mistake))?);
    known.push(Known { by: Arc::downgrade(source), settings, rules: Arc::downgrade(&rules) });
    Ok(rules)
}

/// The names of files, with those that `crs` stands for and that are there.
pub(super) fn expanded<'n>(names: impl IntoIterator<Item = &'n str>) -> Vec<String> {
    let mut all = Vec::new();
    for name in names {
        if name == CRS {
            let there = CRS_FILES.iter().filter(|(file, is_needed)| *is_needed || PathBuf::from(file).is_file());
            all.extend(there.map(|(file, _)| (*file).to_owned()));
        } else {
            all.push(name.to_owned());
        }
    }
    all
}

/// At the name that leads to the file, if one does.
fn at(told: Diagnostic, names: &[Spanned<String>], mistake: &Mistake) -> Diagnostic {
    let of_crs = || CRS_FILES.iter().any(|(file, _)| *file == mistake.file);
    let name = names.iter().find(|name| name.value == mistake.file || (name.value == CRS && of_crs()));
    match name {
        // The file is not there.
        Some(name) if mistake.line == 0 => told.at(&name.span).hint(HINT),
        _ => told,
    }
}

/// A mistake in a file of rules.
pub(super) fn told(mistake: &Mistake) -> Diagnostic {
    let told = Diagnostic::error(mistake.to_string());
    match &mistake.hint {
        Some(hint) => told.hint(hint),
        None => told,
    }
}
