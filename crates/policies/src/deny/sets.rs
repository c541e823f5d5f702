//! Rules that come with the gateway: few, and such that no honest request fits them.

use super::Set;
use super::rules::Part;

/// A part, a word for our log, and patterns of which one has to fit.
type SetRule = (Part, &'static str, &'static [&'static str]);

/// The rules of a set.
pub(super) fn rules(set: Set) -> Vec<SetRule> {
    let header = |name: &str| Part::Header(name.to_owned());
    match set {
        Set::Probes => vec![
            (Part::Path, "hidden files", HIDDEN),
            (Part::Path, "other systems", SYSTEMS),
            (Part::Path, "backups", BACKUPS),
            (Part::Query, "attack", ATTACKS),
            (header("user-agent"), "scanner", SCANNERS),
            (header("user-agent"), "look-up", LOOKUPS),
            (header("referer"), "look-up", LOOKUPS),
        ],
    }
}

/// Of developers and of servers, which no web server should show.
const HIDDEN: &[&str] = &[
    r"(?i)/\.(env|git|svn|hg|bzr|aws|ssh|kube|docker|npmrc|pypirc|netrc|htaccess|htpasswd|ds_store|vscode|idea|bash_history)([./_-]|$)",
    r"(?i)/(web\.config|wp-config\.php|id_rsa|id_ed25519|docker-compose\.ya?ml|credentials)([.~]|$)",
    r"(?i)/(etc/(passwd|shadow)|proc/self|windows/win\.ini)",
];

/// Pages of systems that are attacked wherever they might be.
const SYSTEMS: &[&str] = &[
    r"(?i)/(wp-login\.php|wp-admin|wp-includes|wp-content|xmlrpc\.php|wlwmanifest\.xml)",
    r"(?i)/(phpmyadmin|pma|myadmin|adminer|mysqladmin)([./-]|$)",
    r"(?i)/(phpunit|_ignition|telescope/requests|laravel-filemanager|phpinfo\.php|eval-stdin\.php|shell\.php|c99\.php|r57\.php)",
    r"(?i)/(cgi-bin|boaform|hnap1|goform|gponform|setup\.cgi|manager/html|jmx-console|solr/admin|struts|owa/auth|autodiscover/autodiscover\.xml)(/|$)",
    r"(?i)/(server-status|server-info)$",
];

/// What somebody left behind.
const BACKUPS: &[&str] = &[
    r"(?i)\.(sql|bak|old|orig|swp|sav)(\.(gz|zip|bz2))?$",
    r"(?i)/(backup|dump|www|site|database)\.(zip|tar|tar\.gz|tgz|rar|7z)$",
];

/// In a query, as it is written or decoded.
const ATTACKS: &[&str] = &[
    r"(\.\./){2,}|(\.\.\\){2,}",
    r"/etc/(passwd|shadow)|/proc/self/environ|\\win\.ini",
    r"<script[\s>/]|javascript:[a-z(]",
    r"\bunion(\s|/\*.*\*/)+(all(\s|/\*.*\*/)+)?select\b|\binformation_schema\b|\bxp_cmdshell\b|\bsleep\(\s*\d+\s*\)|\bbenchmark\(\s*\d+",
    r"\$\{(jndi|lower|upper|env|sys|::-)[:}]",
    r"\b(php|expect|data|phar)://|\ballow_url_include\b|\bauto_prepend_file\b",
    r"[;|`&]\s*(wget|curl|nc|bash|sh|powershell)\s",
];

/// Tools that say who they are.
const SCANNERS: &[&str] = &[
    r"\b(sqlmap|nikto|nessus|openvas|acunetix|netsparker|nuclei|masscan|zgrab|nmap|gobuster|dirbuster|dirsearch|feroxbuster|ffuf|wpscan|joomscan|w3af|havij|fimap|arachni|commix|hydra|whatweb|jaeles)\b",
];

/// Log4Shell (CVE-2021-44228) and its relatives.
const LOOKUPS: &[&str] = &[r"\$\{(jndi|lower|upper|env|sys|::-)[:}]"];
