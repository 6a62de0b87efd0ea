//! `WWW-Authenticate`: the challenges of a server, as RFC 9110 (section 11) writes them.
//!
//! A header may hold several challenges, and a challenge several parameters, all between commas: a name that is followed by
//! `=` is a parameter, any other begins a challenge. What makes no sense is skipped; nothing here fails.

/// One challenge.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Challenge {
    /// The scheme, in lower case.
    pub scheme: String,
    /// The parameters, their names in lower case.
    pub parameters: Vec<(String, String)>,
}

impl Challenge {
    /// A parameter's value.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.parameters.iter().find(|(n, _)| n == name).map(|(_, value)| value.as_str())
    }
}

/// Whether the character may stand in a token.
fn is_token(c: char) -> bool {
    c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~/".contains(c)
}

/// The challenges of one header, in order.
pub(super) fn challenges(header: &str) -> Vec<Challenge> {
    let mut found: Vec<Challenge> = Vec::new();
    let mut rest = header.trim_start_matches([' ', '\t', ',']);
    while !rest.is_empty() {
        let end = rest.find(|c| !is_token(c)).unwrap_or(rest.len());
        let (name, after) = rest.split_at(end);
        let value = after.trim_start_matches([' ', '\t']).strip_prefix('=');
        rest = match (value, found.last_mut()) {
            // The padding of a token68 looks like an empty parameter; it is one of no use.
            (Some(value), Some(challenge)) if !name.is_empty() => {
                let (value, rest) = parameter(value.trim_start_matches([' ', '\t']));
                challenge.parameters.push((name.to_ascii_lowercase(), value));
                rest
            }
            (None, _) if !name.is_empty() => {
                found.push(Challenge { scheme: name.to_ascii_lowercase(), parameters: Vec::new() });
                after
            }
            _ => {
                let skipped = after.chars().next().map_or(0, char::len_utf8);
                &after[skipped..]
            }
        };
        rest = rest.trim_start_matches([' ', '\t', ',']);
    }
    found
}

/// A value, quoted or not, and what comes after it.
fn parameter(text: &str) -> (String, &str) {
    let Some(quoted) = text.strip_prefix('"') else {
        let end = text.find(|c| !is_token(c) && c != '=').unwrap_or(text.len());
        return (text[..end].to_owned(), &text[end..]);
    };
    let (mut value, mut escaped) = (String::new(), false);
    for (at, c) in quoted.char_indices() {
        match c {
            _ if escaped => {
                value.push(c);
                escaped = false;
            }
            '\\' => escaped = true,
            '"' => return (value, &quoted[at + 1..]),
            _ => value.push(c),
        }
    }
    (value, "")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn several_challenges_in_one_header_are_told_apart() {
        let header = r#"Negotiate, Basic realm="a \"b\", c" , DIGEST Realm = x, nonce="n==", qop="auth, auth-int",stale=TRUE, Bearer"#;
        let found = challenges(header);
        let schemes: Vec<_> = found.iter().map(|c| c.scheme.as_str()).collect();
        assert_eq!(schemes, ["negotiate", "basic", "digest", "bearer"]);
        assert_eq!(found[1].get("realm"), Some("a \"b\", c"));
        assert_eq!(found[2].get("realm"), Some("x"));
        assert_eq!(found[2].get("nonce"), Some("n=="));
        assert_eq!(found[2].get("qop"), Some("auth, auth-int"));
        assert_eq!(found[2].get("stale"), Some("TRUE"));
        assert_eq!(found[2].get("opaque"), None);
    }

    proptest! {
        #[test]
        fn no_header_makes_it_panic(header in ".{0,200}", pieces in prop::collection::vec("[a-z=\",\\\\ é]{0,5}", 0..20)) {
            let _ = challenges(&header);
            let _ = challenges(&pieces.concat());
        }
    }
}
