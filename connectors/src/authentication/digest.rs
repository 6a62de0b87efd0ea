//! Digest access authentication: RFC 7616, and RFC 2069 for servers that name no `qop`.
//!
//! A server answers 401 with challenges; of those, in its order, the first whose algorithm is known is taken. The answer
//! proves that the password is known without sending it: a hash over user, realm and password, the server's nonce, a counter,
//! a nonce of our own, the method and the address. Algorithms: MD5, SHA-256, SHA-512-256, each with `-sess`. Of the qualities
//! of protection `auth` is preferred to `auth-int`. `userhash` and names beyond ASCII (`username*`) are done.
//!
//! Everything here is a function of its arguments; the nonce of our own comes in.

use md5::Md5;
use sha2::{Digest as _, Sha256, Sha512_256};

use super::challenge::Challenge;
use super::policy::Login;
use crate::http::content::percent;

/// A challenge that can be answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Demand {
    realm: String,
    pub nonce: String,
    opaque: Option<String>,
    algorithm: Algorithm,
    /// The algorithm as the server spelt it, which is how it wants it back.
    spelt: Option<String>,
    quality: Quality,
    userhash: bool,
    /// The nonce before was right and is too old.
    pub stale: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Algorithm {
    hash: Hash,
    session: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Hash {
    Md5,
    Sha256,
    Sha512Half,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Quality {
    /// RFC 2069: no counter and no nonce of the client's.
    Absent,
    Auth,
    AuthInt,
}

/// What one request adds to the hash.
#[derive(Clone, Copy, Debug)]
pub(super) struct Part<'a> {
    pub method: &'a str,
    /// Path and query.
    pub target: &'a str,
    pub body: &'a [u8],
    /// The number of requests with this nonce, this one included.
    pub count: u32,
    pub cnonce: &'a str,
}

/// Why there is nothing to answer.
pub(super) fn why_not(challenges: &[Challenge]) -> String {
    if challenges.is_empty() {
        return "no WWW-Authenticate".into();
    }
    let said: Vec<_> = challenges
        .iter()
        .map(|c| match c.get("algorithm") {
            Some(algorithm) => format!("{} with {algorithm}", c.scheme),
            None => c.scheme.clone(),
        })
        .collect();
    said.join(", ")
}

impl Demand {
    /// The first challenge that can be answered.
    pub fn choose(challenges: &[Challenge]) -> Option<Self> {
        challenges.iter().find_map(Self::of)
    }

    fn of(challenge: &Challenge) -> Option<Self> {
        if challenge.scheme != "digest" {
            return None;
        }
        let spelt = challenge.get("algorithm").map(str::to_owned);
        let name = spelt.as_deref().unwrap_or("MD5").to_ascii_uppercase();
        let (base, session) = name.strip_suffix("-SESS").map_or((name.as_str(), false), |base| (base, true));
        let hash = match base {
            "MD5" => Hash::Md5,
            "SHA-256" => Hash::Sha256,
            "SHA-512-256" => Hash::Sha512Half,
            _ => return None,
        };
        let offers = |wanted: &str| {
            let mut offered = challenge.get("qop").unwrap_or("").split(',').map(str::trim);
            offered.any(|offer| offer.eq_ignore_ascii_case(wanted))
        };
        let quality = match challenge.get("qop").map(str::trim) {
            None | Some("") => Quality::Absent,
            Some(_) if offers("auth") => Quality::Auth,
            Some(_) if offers("auth-int") => Quality::AuthInt,
            Some(_) => return None,
        };
        let says = |name: &str| challenge.get(name).is_some_and(|v| v.eq_ignore_ascii_case("true"));
        Some(Self {
            realm: challenge.get("realm")?.to_owned(),
            nonce: challenge.get("nonce")?.to_owned(),
            opaque: challenge.get("opaque").map(str::to_owned),
            algorithm: Algorithm { hash, session },
            spelt,
            quality,
            userhash: says("userhash"),
            stale: says("stale"),
        })
    }

    /// The value of `Authorization`, and the hash in it that proves it.
    pub fn answer(&self, login: &Login, part: Part<'_>) -> (String, String) {
        let hash = |text: &str| self.algorithm.hash.of(text.as_bytes());
        let (user, password) = (login.username.expose(), login.password.expose());
        let counter = format!("{:08x}", part.count);
        let mut first = hash(&format!("{user}:{}:{password}", self.realm));
        if self.algorithm.session {
            first = hash(&format!("{first}:{}:{}", self.nonce, part.cnonce));
        }
        let second = match self.quality {
            Quality::Absent | Quality::Auth => hash(&format!("{}:{}", part.method, part.target)),
            Quality::AuthInt => {
                let body = self.algorithm.hash.of(part.body);
                hash(&format!("{}:{}:{body}", part.method, part.target))
            }
        };
        let response = match self.quality.name() {
            None => hash(&format!("{first}:{}:{second}", self.nonce)),
            Some(qop) => hash(&format!("{first}:{}:{counter}:{}:{qop}:{second}", self.nonce, part.cnonce)),
        };
        let mut answer = String::from("Digest ");
        if self.userhash {
            answer.push_str(&quoted("username", &hash(&format!("{user}:{}", self.realm))));
            answer.push_str(", userhash=true");
        } else if user.bytes().all(|b| (b' '..0x7f).contains(&b)) {
            answer.push_str(&quoted("username", user));
        } else {
            answer.push_str("username*=UTF-8''");
            percent(user, &mut answer);
        }
        for (name, value) in
            [("realm", &*self.realm), ("uri", part.target), ("nonce", &self.nonce), ("response", &response)]
        {
            answer.push_str(", ");
            answer.push_str(&quoted(name, value));
        }
        if let Some(algorithm) = &self.spelt {
            answer.push_str(&format!(", algorithm={algorithm}"));
        }
        if let Some(qop) = self.quality.name() {
            answer.push_str(&format!(", qop={qop}, nc={counter}, {}", quoted("cnonce", part.cnonce)));
        } else if self.algorithm.session {
            answer.push_str(&format!(", {}", quoted("cnonce", part.cnonce)));
        }
        if let Some(opaque) = &self.opaque {
            answer.push_str(&format!(", {}", quoted("opaque", opaque)));
        }
        (answer, response)
    }
}

impl Quality {
    fn name(self) -> Option<&'static str> {
        match self {
            Quality::Absent => None,
            Quality::Auth => Some("auth"),
            Quality::AuthInt => Some("auth-int"),
        }
    }
}

impl Hash {
    fn of(self, bytes: &[u8]) -> String {
        match self {
            Hash::Md5 => hex(&Md5::digest(bytes)),
            Hash::Sha256 => hex(&Sha256::digest(bytes)),
            Hash::Sha512Half => hex(&Sha512_256::digest(bytes)),
        }
    }
}

/// Bytes as hexadecimal digits.
pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut hex, byte| {
        hex.push_str(&format!("{byte:02x}"));
        hex
    })
}

fn quoted(name: &str, value: &str) -> String {
    format!("{name}=\"{}\"", value.replace('\\', "\\\\").replace('"', "\\\""))
}

#[cfg(test)]
mod tests {
    use cpd_connector_api::secret::Secret;
    use proptest::prelude::*;

    use super::super::challenge::challenges;
    use super::*;

    fn login(username: &str, password: &str) -> Login {
        Login { username: Secret::new(username), password: Secret::new(password) }
    }

    fn get<'a>(target: &'a str, cnonce: &'a str) -> Part<'a> {
        Part { method: "GET", target, body: b"", count: 1, cnonce }
    }

    fn demand(header: &str) -> Demand {
        Demand::choose(&challenges(header)).expect("can be answered")
    }

    /// RFC 7616, section 3.9.1: the same request under SHA-256 and MD5.
    #[test]
    fn the_first_example_of_rfc_7616_is_answered_as_it_says() {
        let rest = r#"realm="http-auth@example.org", qop="auth, auth-int", nonce="7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v", opaque="FQhe/qaU925kfnzjCev0ciny7QMkPqMAFRtzCUYo5tdS""#;
        let part = get("/dir/index.html", "f2/wE4q74E6zIJEtWaHKaf5wv/H5QzzpXusqGemxURZJ");
        let both = format!("Digest algorithm=SHA-256, {rest}, Digest algorithm=MD5, {rest}");
        for (header, response) in [
            (both, "753927fa0e85d155564e2e272a28d1802ca10daf4496794697cf8db5856cb6c1"),
            (format!("Digest algorithm=MD5, {rest}"), "8ca523f5e9506fed4657c9700eebdbec"),
        ] {
            let (answer, _) = demand(&header).answer(&login("Mufasa", "Circle of Life"), part);
            let read = &challenges(&answer)[0];
            assert_eq!(read.get("response"), Some(response), "{answer}");
            assert_eq!(read.get("username"), Some("Mufasa"));
            assert_eq!(read.get("uri"), Some("/dir/index.html"));
            assert_eq!((read.get("qop"), read.get("nc")), (Some("auth"), Some("00000001")));
            assert_eq!(read.get("opaque"), Some("FQhe/qaU925kfnzjCev0ciny7QMkPqMAFRtzCUYo5tdS"));
            assert!(!answer.contains("Circle"), "{answer}");
        }
    }

    /// RFC 7616, section 3.9.2, with the values of erratum 4897: those in the text are of SHA-512 cut in half.
    #[test]
    fn the_second_example_of_rfc_7616_hides_the_users_name() {
        let header = r#"Digest realm="api@example.org", qop="auth", algorithm=SHA-512-256, nonce="5TsQWLVdgBdmrQ0XsxbDODV+57QdFR34I9HAbC/RVvkK", opaque="HRPCssKJSGjCrkzDg8OhwpzCiGPChXYjwrI2QmXDnsOS", charset=UTF-8, userhash=true"#;
        let part = get("/doe.json", "NTg6RKcb9boFIAS3KrFK9BGeh+iDa/sm6jUMp2wds69v");
        let (answer, _) = demand(header).answer(&login("J\u{e4}s\u{f8}n Doe", "Secret, or not?"), part);
        let read = &challenges(&answer)[0];
        let user = "793263caabb707a56211940d90411ea4a575adeccb7e360aeb624ed06ece9b0b";
        assert_eq!((read.get("username"), read.get("userhash")), (Some(user), Some("true")));
        let response = "3798d4131c277846293534c3edc11bd8a5e4cdcbff78b05db9d95eeb1cec68a5";
        assert_eq!(read.get("response"), Some(response));
    }

    /// RFC 2069 as corrected by its erratum 749: no `qop`.
    #[test]
    fn a_server_without_qop_gets_no_counter() {
        let header = r#"Digest realm="testrealm@host.com", nonce="dcd98b7102dd2f0e8b11d0f600bfb0c093", opaque="5ccc069c403ebaf9f0171e9517f40e41""#;
        let (answer, _) = demand(header).answer(&login("Mufasa", "CircleOfLife"), get("/dir/index.html", "unused"));
        let read = &challenges(&answer)[0];
        assert_eq!(read.get("response"), Some("1949323746fe6a43ef61f9606e7febea"), "{answer}");
        assert_eq!((read.get("nc"), read.get("cnonce"), read.get("algorithm")), (None, None, None));
    }

    #[test]
    fn a_session_hashes_the_nonces_and_auth_int_the_body() {
        let ask = |header: &str, body: &'static [u8]| {
            demand(header).answer(&login("u", "p"), Part { body, ..get("/", "c") }).0
        };
        let h = |text: &str| hex(&Sha256::digest(text));
        let header = "Digest realm=r, nonce=n, algorithm=sha-256-SESS, qop=auth";
        let expected = h(&format!("{}:n:00000001:c:auth:{}", h(&format!("{}:n:c", h("u:r:p"))), h("GET:/")));
        assert!(ask(header, b"").contains(&format!("response=\"{expected}\"")));
        assert!(ask(header, b"").contains("algorithm=sha-256-SESS"));
        let header = "Digest realm=r, nonce=n, algorithm=SHA-256, qop=\"auth-int\"";
        let expected = h(&format!("{}:n:00000001:c:auth-int:{}", h("u:r:p"), h(&format!("GET:/:{}", h("body")))));
        assert!(ask(header, b"body").contains(&format!("response=\"{expected}\"")));
    }

    #[test]
    fn names_are_quoted_or_encoded() {
        let answer = |user: &str| demand("Digest realm=r, nonce=n").answer(&login(user, "p"), get("/", "c")).0;
        assert!(answer("a\"b\\c").contains(r#"username="a\"b\\c""#));
        assert!(answer("Jäsøn Doe").contains("username*=UTF-8''J%C3%A4s%C3%B8n%20Doe"));
    }

    #[test]
    fn challenges_that_cannot_be_answered_are_passed_over() {
        for header in [
            "Basic realm=x",
            "Digest realm=r, nonce=n, algorithm=SHA-3",
            "Digest realm=r",
            "Digest nonce=n",
            "Digest realm=r, nonce=n, qop=other",
            "",
        ] {
            assert_eq!(Demand::choose(&challenges(header)), None, "{header}");
        }
        let later =
            demand("Basic realm=x, Digest realm=r, nonce=n, algorithm=SHA-3, Digest realm=s, nonce=m, stale=true");
        assert_eq!((later.realm.as_str(), later.stale), ("s", true));
        assert_eq!(why_not(&challenges("Basic realm=x, Digest algorithm=SHA-3")), "basic, digest with SHA-3");
    }

    proptest! {
        #[test]
        fn no_challenge_makes_an_answer_panic(header in "Digest realm=\".{0,20}\", nonce=\".{0,20}\", qop=.{0,8}", user in ".{0,20}") {
            if let Some(demand) = Demand::choose(&challenges(&header)) {
                let _ = demand.answer(&login(&user, "p"), get("/", "c"));
            }
        }
    }
}
