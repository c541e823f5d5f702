//! What rules look at: collections of values, and which of them are meant.

use regex::bytes::Regex;

/// A collection of values, or a single value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Collection {
    Args,
    ArgsNames,
    ArgsGet,
    ArgsGetNames,
    ArgsPost,
    ArgsPostNames,
    ArgsCombinedSize,
    Cookies,
    CookiesNames,
    Headers,
    HeadersNames,
    Files,
    FilesNames,
    FilesSizes,
    FilesCombinedSize,
    PartHeaders,
    Xml,
    XmlAttributes,
    QueryString,
    RemoteAddr,
    BodyError,
    BodyErrorText,
    BodyProcessor,
    StrictError,
    Basename,
    Body,
    BodyLength,
    Filename,
    Line,
    Method,
    Protocol,
    Uri,
    UriRaw,
    UniqueId,
    Duration,
    Tx,
    MatchedVar,
    MatchedVarName,
    MatchedVars,
    MatchedVarsNames,
}

/// By the names that rules have for them.
const NAMED: &[(&str, Collection)] = &[
    ("ARGS", Collection::Args),
    ("ARGS_NAMES", Collection::ArgsNames),
    ("ARGS_GET", Collection::ArgsGet),
    ("ARGS_GET_NAMES", Collection::ArgsGetNames),
    ("ARGS_POST", Collection::ArgsPost),
    ("ARGS_POST_NAMES", Collection::ArgsPostNames),
    ("ARGS_COMBINED_SIZE", Collection::ArgsCombinedSize),
    ("REQUEST_COOKIES", Collection::Cookies),
    ("REQUEST_COOKIES_NAMES", Collection::CookiesNames),
    ("REQUEST_HEADERS", Collection::Headers),
    ("REQUEST_HEADERS_NAMES", Collection::HeadersNames),
    ("FILES", Collection::Files),
    ("FILES_NAMES", Collection::FilesNames),
    ("FILES_SIZES", Collection::FilesSizes),
    ("FILES_COMBINED_SIZE", Collection::FilesCombinedSize),
    ("MULTIPART_PART_HEADERS", Collection::PartHeaders),
    ("XML", Collection::Xml),
    ("QUERY_STRING", Collection::QueryString),
    ("REMOTE_ADDR", Collection::RemoteAddr),
    ("REQBODY_ERROR", Collection::BodyError),
    ("REQBODY_ERROR_MSG", Collection::BodyErrorText),
    ("REQBODY_PROCESSOR", Collection::BodyProcessor),
    ("REQBODY_PROCESSOR_ERROR", Collection::BodyError),
    ("MULTIPART_STRICT_ERROR", Collection::StrictError),
    ("REQUEST_BASENAME", Collection::Basename),
    ("REQUEST_BODY", Collection::Body),
    ("REQUEST_BODY_LENGTH", Collection::BodyLength),
    ("REQUEST_FILENAME", Collection::Filename),
    ("REQUEST_LINE", Collection::Line),
    ("REQUEST_METHOD", Collection::Method),
    ("REQUEST_PROTOCOL", Collection::Protocol),
    ("REQUEST_URI", Collection::Uri),
    ("REQUEST_URI_RAW", Collection::UriRaw),
    ("UNIQUE_ID", Collection::UniqueId),
    ("DURATION", Collection::Duration),
    ("TX", Collection::Tx),
    ("MATCHED_VAR", Collection::MatchedVar),
    ("MATCHED_VAR_NAME", Collection::MatchedVarName),
    ("MATCHED_VARS", Collection::MatchedVars),
    ("MATCHED_VARS_NAMES", Collection::MatchedVarsNames),
];

/// Collections whose rules are not run, and what they would need.
pub(crate) const NOT_HERE: &[(&str, &str)] = &[
    ("IP", "a memory from one request to the next"),
    ("GLOBAL", "a memory from one request to the next"),
    ("RESOURCE", "a memory from one request to the next"),
    ("SESSION", "a memory from one request to the next"),
    ("USER", "a memory from one request to the next"),
    ("GEO", "a list of where addresses are"),
];

impl Collection {
    /// The one of this name, in any case.
    pub(crate) fn named(name: &str) -> Option<Self> {
        NAMED.iter().find(|(own, _)| own.eq_ignore_ascii_case(name)).map(|(_, collection)| *collection)
    }

    /// The names of all.
    pub(crate) fn names() -> impl Iterator<Item = &'static str> {
        NAMED.iter().map(|(name, _)| *name)
    }

    /// Its own name.
    pub(crate) fn name(self) -> &'static str {
        if self == Self::XmlAttributes {
            return "XML";
        }
        NAMED.iter().find(|(_, own)| *own == self).map_or("", |(name, _)| *name)
    }

    /// Whether its values have names of their own.
    pub(crate) fn has_keys(self) -> bool {
        matches!(
            self,
            Self::Args
                | Self::ArgsNames
                | Self::ArgsGet
                | Self::ArgsGetNames
                | Self::ArgsPost
                | Self::ArgsPostNames
                | Self::Cookies
                | Self::CookiesNames
                | Self::Headers
                | Self::HeadersNames
                | Self::Files
                | Self::FilesNames
                | Self::FilesSizes
                | Self::PartHeaders
                | Self::Tx
                | Self::MatchedVars
                | Self::MatchedVarsNames
        )
    }

    /// Whether a value of `part` is one of this, too: arguments of the query are arguments.
    pub(crate) fn contains(self, part: Self) -> bool {
        self == part
            || matches!((self, part), (Self::Args, Self::ArgsGet | Self::ArgsPost))
            || matches!((self, part), (Self::ArgsNames, Self::ArgsGetNames | Self::ArgsPostNames))
    }
}

/// Which values of a collection.
#[derive(Debug, Clone)]
pub(crate) enum Key {
    All,
    /// In any case.
    Named(Vec<u8>),
    Like(Regex),
    /// A variable of the transaction, by its number.
    Tx(usize),
}

impl Key {
    pub(crate) fn is(&self, name: &[u8]) -> bool {
        match self {
            Self::All => true,
            Self::Named(own) => own.eq_ignore_ascii_case(name),
            Self::Like(pattern) => pattern.is_match(name),
            // Found by its number alone.
            Self::Tx(_) => false,
        }
    }
}

/// Values of a collection.
#[derive(Debug, Clone)]
pub(crate) struct Selector {
    pub(crate) collection: Collection,
    pub(crate) key: Key,
}

impl Selector {
    /// Whether it leaves out this value, which a rule asks for as one of `collection`.
    pub(crate) fn has(&self, collection: Collection, name: &[u8]) -> bool {
        self.collection.contains(collection) && self.key.is(name)
    }
}

/// What a rule looks at.
#[derive(Clone, Debug)]
pub(crate) enum Target {
    /// Each of these values.
    Values(Selector),
    /// How many there are.
    Count(Selector),
}
