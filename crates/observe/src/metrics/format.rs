//! The two forms of the exposition, and which one a scraper wants.

/// A form that metrics are written in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// Prometheus text format 0.0.4: what everybody reads.
    Text,
    /// OpenMetrics 1.0.
    OpenMetrics,
}

impl Format {
    /// The value of `Content-Type`.
    pub fn content_type(self) -> &'static str {
        match self {
            Self::Text => "text/plain; version=0.0.4; charset=utf-8",
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        }
    }

    /// Chooses by the value of `Accept` (RFC 9110 §12.5.1; several fields joined by commas): OpenMetrics if it is
    /// named with version 1.0.0 or none and wanted at least as much as plain text; else, and without `Accept`, text.
    pub fn from_accept(accept: Option<&str>) -> Self {
        let (mut open, mut text) = (0_u16, 0_u16);
        for range in accept.unwrap_or_default().split(',') {
            let mut parts = range.split(';').map(str::trim);
            let media = parts.next().unwrap_or_default();
            let parameters: Vec<_> = parts.filter_map(|p| p.split_once('=')).collect();
            let value = |name: &str| parameters.iter().find(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, v)| *v);
            let quality = value("q").map_or(1000, thousandths);
            if media.eq_ignore_ascii_case("application/openmetrics-text") {
                if matches!(value("version").map(|v| v.trim_matches('"')), None | Some("1.0.0")) {
                    open = open.max(quality);
                }
            } else if ["text/plain", "text/*"].iter().any(|known| media.eq_ignore_ascii_case(known)) {
                text = text.max(quality);
            }
        }
        if open > 0 && open >= text { Self::OpenMetrics } else { Self::Text }
    }
}

/// A quality value in thousandths (RFC 9110 §12.4.2); what cannot be read counts as unwanted.
fn thousandths(q: &str) -> u16 {
    q.parse::<f32>().ok().filter(|q| (0.0..=1.0).contains(q)).map_or(0, |q| (q * 1000.0) as u16)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scraper_gets_the_form_it_likes_best() {
        let prometheus = "application/openmetrics-text;version=1.0.0;q=0.5,application/openmetrics-text;version=0.0.1;\
                          q=0.4,text/plain;version=0.0.4;q=0.3,*/*;q=0.2";
        for (accept, format) in [
            (None, Format::Text),
            (Some("*/*"), Format::Text),
            (Some("text/html, text/plain"), Format::Text),
            (Some(prometheus), Format::OpenMetrics),
            (Some("application/openmetrics-text"), Format::OpenMetrics),
            (Some("Application/OpenMetrics-Text; Version=\"1.0.0\""), Format::OpenMetrics),
            (Some("application/openmetrics-text; version=0.0.1, text/plain;q=0.5"), Format::Text),
            (Some("application/openmetrics-text;q=0.2, text/plain;q=0.9"), Format::Text),
            (Some("application/openmetrics-text;q=0"), Format::Text),
            (Some("application/openmetrics-text;q=high"), Format::Text),
        ] {
            assert_eq!(Format::from_accept(accept), format, "{accept:?}");
        }
    }
}
