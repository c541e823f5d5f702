//! `correlation`: the id that follows a request through all services.

use tollgate_core::section;

use crate::model::defaults::v1;
use crate::model::fields::FieldName;
use crate::model::text::words;

words! {
    /// From whom an id is taken over.
    pub enum Accept {
        /// From every client.
        Always = "always",
        /// Only from the proxies under `trust`.
        Trusted = "trusted",
        /// From nobody: a new one for each request.
        Never = "never",
    }
}

section! {
    /// The id that follows a request through all services, logs and answers.
    pub struct Correlation {
        /// The header that carries it.
        header: FieldName = v1::CORRELATION_HEADER,
        /// From whom an id is taken over: `always`, from `trusted` proxies only, or `never`.
        accept: Accept = v1::CORRELATION_ACCEPT,
        /// Whether the answer to the client carries it too.
        echo: bool = v1::CORRELATION_ECHO,
    }
}
