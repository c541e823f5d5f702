//! The tenants of Microsoft Entra ID: each gives out tokens in a name of its own, signed with the keys of all.

use serde_json::{Map, Value};

use crate::checks::{Check, on};

/// The tenant of personal accounts, of anybody.
const PERSONAL: &str = "9188040d-6c67-4c5b-b112-36a304b66dad";
/// What stands for the tenant's id in the issuer that keys and metadata name.
const TEMPLATE: &str = "{tenantid}";

/// Whose tokens are taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Tenants {
    /// Those of whichever organization: not of personal accounts.
    Any,
    /// Those of these, by their ids.
    These(Vec<String>),
}

impl Tenants {
    /// Whether a token is given out by one of them: its `tid` is one, and its `iss` is that tenant's, in the form v2.0 or v1.0.
    pub(crate) fn gave_out(&self, claims: &Map<String, Value>) -> bool {
        let text = |name: &str| claims.get(name).and_then(Value::as_str);
        let (Some(tenant), Some(issuer)) = (text("tid"), text("iss")) else { return false };
        let is_taken = match self {
            Self::Any => tenant != PERSONAL,
            Self::These(ids) => ids.iter().any(|id| id == tenant),
        };
        let is_own = issuer == second_form(tenant) || issuer == format!("https://sts.windows.net/{tenant}/");
        (is_taken || !on(Check::EntraTenant)) && (is_own || !on(Check::EntraIssuer))
    }

    /// Whether a key that says in whose name it signs (`issuer`, perhaps for whichever tenant) may have signed this token.
    pub(crate) fn may_sign(key: Option<&str>, claims: &Map<String, Value>) -> bool {
        let tenant = claims.get("tid").and_then(Value::as_str).unwrap_or_default();
        let is_own = |key: &str| key.replace(TEMPLATE, tenant) == second_form(tenant);
        key.is_none_or(is_own) || !on(Check::EntraKey)
    }
}

fn second_form(tenant: &str) -> String {
    format!("https://login.microsoftonline.com/{tenant}/v2.0")
}

/// Whether metadata that name this issuer are those of the tenants together, of which `asked` is the address.
pub(crate) fn is_of_all(named: &str, asked: &str) -> bool {
    let of = |path: &str| asked == second_form(path);
    named == second_form(TEMPLATE) && (of("organizations") || of("common"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const ONE: &str = "9122040d-6c67-4c5b-b112-36a304b66dad";
    const OTHER: &str = "72f988bf-86f1-41af-91ab-2d7cd011db47";

    fn gave_out(tenants: &Tenants, tid: &str, iss: &str) -> bool {
        tenants.gave_out(json!({ "tid": tid, "iss": iss }).as_object().unwrap())
    }

    #[test]
    fn a_token_is_of_a_tenant_that_is_taken_and_says_so_twice() {
        let (one, any) = (Tenants::These(vec![ONE.to_owned()]), Tenants::Any);
        for tenants in [&one, &any] {
            assert!(gave_out(tenants, ONE, &second_form(ONE)));
            assert!(gave_out(tenants, ONE, &format!("https://sts.windows.net/{ONE}/")));
            for issuer in [
                second_form(OTHER),
                second_form(TEMPLATE),
                second_form("organizations"),
                format!("https://sts.windows.net/{OTHER}/"),
                format!("https://evil.example/{ONE}/v2.0"),
                String::new(),
            ] {
                assert!(!gave_out(tenants, ONE, &issuer), "{issuer}");
            }
            assert!(!gave_out(tenants, PERSONAL, &second_form(PERSONAL)), "anybody");
        }
        assert!(gave_out(&any, OTHER, &second_form(OTHER)) && !gave_out(&one, OTHER, &second_form(OTHER)));
        assert!(!any.gave_out(json!({ "iss": second_form("") }).as_object().unwrap()));
    }

    #[test]
    fn a_key_signs_for_its_own_tenant() {
        let claims = json!({ "tid": ONE });
        let may_sign = |key: Option<&str>| Tenants::may_sign(key, claims.as_object().unwrap());
        assert!(may_sign(None) && may_sign(Some(&second_form(TEMPLATE))) && may_sign(Some(&second_form(ONE))));
        assert!(!may_sign(Some(&second_form(OTHER))) && !may_sign(Some(&second_form(PERSONAL))));
    }

    #[test]
    fn metadata_of_all_tenants_name_none() {
        assert!(is_of_all(&second_form(TEMPLATE), &second_form("organizations")));
        assert!(is_of_all(&second_form(TEMPLATE), &second_form("common")));
        assert!(!is_of_all(&second_form(TEMPLATE), &second_form(ONE)));
        assert!(!is_of_all(&second_form(ONE), &second_form("organizations")));
    }
}
