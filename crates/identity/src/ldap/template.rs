//! Names and filters with room for the user: what is put in cannot become more than a value there (RFC 4514, RFC 4515).

/// What is written in front of those who sign in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Template {
    parts: Vec<Part>,
    kind: Kind,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Text(String),
    User,
    Dn,
}

/// By which rules values are put in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// A distinguished name (RFC 4514).
    Dn,
    /// A filter (RFC 4515).
    Filter,
    /// A name of another kind, as Active Directory takes them: `{user}@example.com`, `EXAMPLE\{user}`.
    Name,
}

/// What a name that is not escaped must not have: all that would make it a name of another kind, or of another domain.
const SPECIAL: &[char] = &['@', '\\', '/', '"', '[', ']', ':', ';', '|', '=', ',', '+', '*', '?', '<', '>', '(', ')'];

impl Template {
    /// As whom somebody is bound.
    ///
    /// # Errors
    /// It has no room for the user, or for something else; in words for a person.
    pub fn name(text: &str) -> Result<Self, String> {
        let kind = if text.contains('=') { Kind::Dn } else { Kind::Name };
        let own = Self { parts: parts(text)?, kind };
        if own.has_dn() || !own.parts.contains(&Part::User) {
            return Err("a name with `{user}` in it, and nothing else in braces".to_owned());
        }
        // Else whoever signs in would say what kind of name it is.
        if own.parts.len() == 1 {
            return Err("`{user}` alone: `uid={user},ou=people,dc=example,dc=com`, or `{user}@example.com`".to_owned());
        }
        Ok(own)
    }

    /// By what an entry is found.
    ///
    /// # Errors
    /// It is no filter, or one for the same entries whoever asks; in words for a person.
    pub fn filter(text: &str) -> Result<Self, String> {
        let own = Self { parts: parts(text)?, kind: Kind::Filter };
        if !own.has_dn() && !own.parts.contains(&Part::User) {
            return Err("a filter without `{user}`: it would find the same for everybody".to_owned());
        }
        let filled = own.fill("user", "dc=example").unwrap_or_default();
        if !filled.starts_with('(') || ldap3::parse_filter(&filled).is_err() {
            return Err("no filter (RFC 4515): `(uid={user})`".to_owned());
        }
        Ok(own)
    }

    /// Whether it is a distinguished name.
    pub(crate) fn is_dn(&self) -> bool {
        self.kind == Kind::Dn
    }

    /// Whether it speaks of the user's distinguished name.
    #[must_use]
    pub fn has_dn(&self) -> bool {
        self.parts.contains(&Part::Dn)
    }

    /// With this user. `None`: nobody can have that name.
    pub(crate) fn fill(&self, user: &str, dn: &str) -> Option<String> {
        if self.kind == Kind::Name && user.contains(SPECIAL) {
            return None;
        }
        let put = |value: &str| match self.kind {
            Kind::Dn => ldap3::dn_escape(value).into_owned(),
            Kind::Filter => ldap3::ldap_escape(value).into_owned(),
            Kind::Name => value.to_owned(),
        };
        let part = |part: &Part| match part {
            Part::Text(text) => text.clone(),
            Part::User => put(user),
            Part::Dn => put(dn),
        };
        Some(self.parts.iter().map(part).collect())
    }
}

fn parts(text: &str) -> Result<Vec<Part>, String> {
    let (mut parts, mut rest) = (Vec::new(), text);
    while let Some(at) = rest.find(['{', '}']) {
        let (before, braced) = rest.split_at(at);
        if !before.is_empty() {
            parts.push(Part::Text(before.to_owned()));
        }
        let (part, length) = match braced {
            _ if braced.starts_with("{user}") => (Part::User, 6),
            _ if braced.starts_with("{dn}") => (Part::Dn, 4),
            _ => return Err("in braces stand `{user}` or `{dn}` only".to_owned()),
        };
        parts.push(part);
        rest = &braced[length..];
    }
    if !rest.is_empty() {
        parts.push(Part::Text(rest.to_owned()));
    }
    Ok(parts)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn names_that_want_to_be_more_are_values() {
        let dn = Template::name("uid={user},ou=people,dc=x").unwrap();
        for (user, filled) in [
            ("alice", "uid=alice,ou=people,dc=x"),
            ("a,ou=admins", "uid=a\\2cou\\3dadmins,ou=people,dc=x"),
            ("#a ", "uid=\\23a\\20,ou=people,dc=x"),
            ("ä{user}", "uid=ä{user},ou=people,dc=x"),
        ] {
            assert_eq!(dn.fill(user, "").as_deref(), Some(filled), "{user}");
        }
        let filter = Template::filter("(&(uid={user})(member={dn}))").unwrap();
        assert_eq!(
            filter.fill("*)(uid=*", "cn=a\\2cb").as_deref(),
            Some("(&(uid=\\2a\\29\\28uid=\\2a)(member=cn=a\\5c2cb))")
        );
        let upn = Template::name("{user}@example.com").unwrap();
        assert_eq!(upn.fill("alice", "").as_deref(), Some("alice@example.com"));
        for user in ["cn=a", "a@b", "B\\a", "a,b", "*"] {
            assert_eq!(upn.fill(user, ""), None, "{user}");
        }
    }

    #[test]
    fn what_is_no_template_is_refused() {
        for text in ["{user}", "uid=alice", "uid={name}", "uid={user", "uid={dn}", "", "uid={user}}"] {
            assert!(Template::name(text).is_err(), "{text}");
        }
        for text in ["uid={user}", "(uid=alice)", "(uid={user}", "(uid={user}))", "", "({user})"] {
            assert!(Template::filter(text).is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn whatever_a_user_is_called_a_name_keeps_its_parts(user in ".*") {
            let filled = Template::name("uid={user},dc=x").unwrap().fill(&user, "").unwrap();
            let value = filled.strip_prefix("uid=").unwrap().strip_suffix(",dc=x").unwrap();
            prop_assert!(!value.contains(['"', '+', ',', ';', '<', '=', '>', '\0']));
            prop_assert!(!value.starts_with([' ', '#']) && !value.ends_with(' '));
            // Each backslash begins one escaped byte, so that none of them eats what follows the value.
            prop_assert_eq!(ldap3::ldap_unescape(value).unwrap(), user.as_str());
        }

        #[test]
        fn whatever_a_user_is_called_a_filter_keeps_its_shape(user in ".*", dn in ".*") {
            let filled = Template::filter("(&(a={user})(b={dn}))").unwrap().fill(&user, &dn).unwrap();
            prop_assert!(filled.matches('(').count() == 3 && filled.matches(')').count() == 3 && !filled.contains('*'));
            prop_assert!(ldap3::parse_filter(&filled).is_ok());
            let value = filled.strip_prefix("(&(a=").unwrap().split(')').next().unwrap();
            prop_assert_eq!(ldap3::ldap_unescape(value).unwrap(), user.as_str());
        }
    }
}
