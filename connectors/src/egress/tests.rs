//! The rules against names and addresses, with a resolver of their own.

use std::collections::BTreeMap;
use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};

use cpd_connector_api::BoxFuture;

use super::resolve::Error;
use super::*;

/// Names and what they lead to: the first answer first, the last one for ever.
#[derive(Default)]
struct Names(BTreeMap<&'static str, Vec<Vec<IpAddr>>>, AtomicUsize);

impl Resolver for Names {
    fn resolve<'a>(&'a self, name: &'a str) -> BoxFuture<'a, io::Result<Vec<IpAddr>>> {
        Box::pin(async move {
            let answers = self.0.get(name).ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))?;
            let at = self.1.fetch_add(1, Ordering::Relaxed).min(answers.len() - 1);
            Ok(answers[at].clone())
        })
    }
}

fn names(known: &[(&'static str, &[&str])]) -> Arc<Names> {
    let read = |list: &[&str]| vec![list.iter().map(|a| a.parse().unwrap()).collect()];
    Arc::new(Names(known.iter().map(|(name, list)| (*name, read(list))).collect(), AtomicUsize::new(0)))
}

fn egress(reach: Reach, allow: &[&str], deny: &[&str]) -> Egress {
    let list = |texts: &[&str]| texts.iter().map(ToString::to_string).collect();
    let config = EgressConfig { reach, allow: list(allow), deny: list(deny), proxy: Proxy::None };
    Egress::new(&config).unwrap().with_resolver(names(&[
        ("public.example", &["93.184.216.34"]),
        ("inside.corp.example", &["10.1.2.3"]),
        ("loop.evil.example", &["127.0.0.1"]),
        ("mapped.evil.example", &["::ffff:127.0.0.1"]),
        ("meta.evil.example", &["169.254.169.254"]),
        ("meta6.evil.example", &["fd00:ec2::254"]),
        ("zero.evil.example", &["0.0.0.0"]),
        ("both.evil.example", &["127.0.0.1", "93.184.216.34", "::1"]),
        ("localhost", &["::1", "127.0.0.1"]),
        ("empty.example", &[]),
    ]))
}

/// The addresses, or the word for the refusal.
async fn reaches(egress: &Egress, host: &str, port: u16) -> Result<Vec<String>, &'static str> {
    let word = |refused: &Refused| match &refused.why {
        Why::Special { .. } => "special",
        Why::Denied { .. } => "denied",
        Why::Unlisted { .. } => "unlisted",
        Why::MetadataName => "metadata name",
        Why::NoHost => "no host",
        Why::Unresolved => "unresolved",
    };
    let admitted = egress.admit(host, port).map_err(|r| word(&r))?;
    match egress.addresses(&admitted).await {
        Ok(found) => Ok(found.iter().map(ToString::to_string).collect()),
        Err(Error::Refused(refused)) => Err(word(&refused)),
        Err(Error::Io(_)) => Err("nowhere"),
    }
}

#[tokio::test]
async fn only_public_addresses_are_reached_unless_something_else_is_said() {
    let egress = egress(Reach::Public, &[], &[]);
    assert_eq!(reaches(&egress, "public.example", 443).await, Ok(vec!["93.184.216.34:443".into()]));
    assert_eq!(reaches(&egress, "93.184.216.34", 80).await, Ok(vec!["93.184.216.34:80".into()]));
    for host in [
        "localhost",
        "LOCALHOST.",
        "127.0.0.1",
        "127.1",
        "2130706433",
        "0x7f000001",
        "0x7f.0.0.1",
        "0177.0.0.01",
        "0",
        "0.0.0.0",
        "[::]",
        "[::1]",
        "[0:0:0:0:0:0:0:1]",
        "[::ffff:127.0.0.1]",
        "[::ffff:7f00:1]",
        "[::127.0.0.1]",
        "[64:ff9b::7f00:1]",
        "[64:ff9b::10.0.0.1]",
        "[2002:7f00:1::]",
        "[fe80::1]",
        "[fd12::1]",
        "10.0.0.1",
        "172.31.0.1",
        "192.168.0.1",
        "100.64.0.1",
        "169.254.169.254",
        "0xa9fea9fe",
        "2852039166",
        "[::ffff:169.254.169.254]",
        "[fd00:ec2::254]",
        "168.63.129.16",
        "224.0.0.1",
        "255.255.255.255",
        "loop.evil.example",
        "mapped.evil.example",
        "meta.evil.example",
        "meta6.evil.example",
        "zero.evil.example",
        "inside.corp.example",
    ] {
        assert_eq!(reaches(&egress, host, 80).await, Err("special"), "{host}");
    }
    for host in ["metadata.google.internal", "Metadata.Google.Internal.", "metadata"] {
        assert_eq!(reaches(&egress, host, 80).await, Err("metadata name"), "{host}");
    }
    assert_eq!(reaches(&egress, "both.evil.example", 80).await, Ok(vec!["93.184.216.34:80".into()]));
    assert_eq!(reaches(&egress, "gone.example", 80).await, Err("nowhere"));
    assert_eq!(reaches(&egress, "empty.example", 80).await, Err("nowhere"));
    for host in ["", "a b", "bob@public.example", "fe80::1%eth0"] {
        assert_eq!(reaches(&egress, host, 80).await, Err("no host"), "{host}");
    }
}

#[tokio::test]
async fn what_is_allowed_by_name_may_be_private_but_never_a_metadata_service() {
    let allowing = |rules: &[&str]| egress(Reach::Public, rules, &[]);
    let by_name = allowing(&["*.corp.example", "localhost:8080", "meta.evil.example", "metadata.google.internal"]);
    assert_eq!(reaches(&by_name, "inside.corp.example", 5432).await, Ok(vec!["10.1.2.3:5432".into()]));
    assert_eq!(reaches(&by_name, "localhost", 8080).await, Ok(vec!["[::1]:8080".into(), "127.0.0.1:8080".into()]));
    assert_eq!(reaches(&by_name, "localhost", 8081).await, Err("special"));
    assert_eq!(reaches(&by_name, "127.0.0.1", 8080).await, Err("special"), "the name is allowed, not the address");
    assert_eq!(reaches(&by_name, "meta.evil.example", 80).await, Err("special"));
    let by_address = allowing(&["127.0.0.0/8:8080", "169.254.169.254"]);
    assert_eq!(reaches(&by_address, "localhost", 8080).await, Ok(vec!["127.0.0.1:8080".into()]));
    assert_eq!(reaches(&by_address, "localhost", 8081).await, Err("special"));
    assert_eq!(reaches(&by_address, "[::ffff:127.0.0.1]", 8080).await, Ok(vec!["[::ffff:127.0.0.1]:8080".into()]));
    assert_eq!(reaches(&by_address, "meta.evil.example", 80).await, Ok(vec!["169.254.169.254:80".into()]));
}

#[tokio::test]
async fn deny_has_the_last_word_and_listed_the_first() {
    let egress = |reach, allow: &[&str], deny: &[&str]| super::tests::egress(reach, allow, deny);
    let deny = egress(Reach::Any, &["*.example", "10.0.0.0/8"], &["10.1.0.0/16", "public.example:25"]);
    assert_eq!(reaches(&deny, "inside.corp.example", 80).await, Err("denied"));
    assert_eq!(reaches(&deny, "[::ffff:10.1.0.1]", 80).await, Err("denied"));
    assert_eq!(reaches(&deny, "[64:ff9b::10.1.0.1]", 80).await, Err("denied"));
    assert_eq!(reaches(&deny, "public.example", 25).await, Err("denied"));
    assert_eq!(reaches(&deny, "PUBLIC.example.", 25).await, Err("denied"));
    assert!(reaches(&deny, "public.example", 80).await.is_ok());
    assert!(reaches(&deny, "10.2.0.1", 80).await.is_ok());
    let any = egress(Reach::Any, &[], &[]);
    for host in ["localhost", "10.0.0.1", "[fd12::1]", "198.18.0.1"] {
        assert!(reaches(&any, host, 80).await.is_ok(), "{host}");
    }
    for host in ["169.254.169.254", "169.254.1.1", "[fe80::1]", "meta6.evil.example", "100.100.100.200"] {
        assert_eq!(reaches(&any, host, 80).await, Err("special"), "{host}");
    }
    let listed = egress(Reach::Listed, &["public.example"], &[]);
    assert!(reaches(&listed, "public.example", 80).await.is_ok());
    for host in ["inside.corp.example", "93.184.216.34", "gone.example"] {
        assert_eq!(reaches(&listed, host, 80).await, Err("unlisted"), "{host}");
    }
    let range = egress(Reach::Listed, &["93.184.216.0/24"], &[]);
    assert!(reaches(&range, "public.example", 80).await.is_ok());
    assert_eq!(reaches(&range, "loop.evil.example", 80).await, Err("unlisted"));
}

#[tokio::test]
async fn a_name_that_answers_differently_the_second_time_is_checked_the_second_time() {
    let answers = vec![vec!["93.184.216.34".parse().unwrap()], vec!["127.0.0.1".parse().unwrap()]];
    let rebinding = Arc::new(Names([("evil.example", answers)].into(), AtomicUsize::new(0)));
    let egress = Egress::new(&EgressConfig { reach: Reach::Public, ..EgressConfig::default() })
        .unwrap()
        .with_resolver(rebinding);
    assert_eq!(reaches(&egress, "evil.example", 80).await, Ok(vec!["93.184.216.34:80".into()]));
    assert_eq!(reaches(&egress, "evil.example", 80).await, Err("special"));
}

#[tokio::test]
async fn through_a_proxy_a_name_that_is_not_known_here_has_to_be_listed() {
    let public = egress(Reach::Public, &["listed.example"], &[]);
    let asks = async |egress: &Egress, host: &str| egress.admit_through_proxy(host, 443).await.map_err(|r| r.why);
    assert_eq!(asks(&public, "public.example").await, Ok(()));
    assert_eq!(asks(&public, "listed.example").await, Ok(()));
    assert_eq!(asks(&public, "gone.example").await, Err(Why::Unresolved));
    for refused in ["loop.evil.example", "169.254.169.254", "metadata.google.internal", "[::ffff:10.0.0.1]"] {
        assert!(asks(&public, refused).await.is_err(), "{refused}");
    }
    assert_eq!(asks(&egress(Reach::Any, &[], &[]), "gone.example").await, Ok(()));
    assert_eq!(asks(&Egress::open(), "gone.example").await, Ok(()));
}

#[tokio::test]
async fn a_refusal_says_what_was_found_which_rule_and_what_to_do() {
    let public = egress(Reach::Public, &[], &["*.evil.example"]);
    let said = |host: &str, port| public.admit(host, port).unwrap_err().problem();
    let problem = said("[::1]", 8080);
    assert_eq!(problem.status, 403);
    let detail = problem.detail.unwrap();
    assert!(detail.contains("[::1]:8080: a loopback address") && detail.contains("add \"[::1]:8080\""), "{detail}");
    assert_eq!(problem.data.unwrap().to_json(), r#"{"host":"[::1]","port":8080,"egress":"loopback","address":"::1"}"#);
    let detail = said("loop.evil.example", 80).to_string();
    assert!(detail.contains("`deny`") && detail.contains("*.evil.example"), "{detail}");
    let admitted = public.admit("inside.corp.example", 80).unwrap();
    let detail = public.addresses(&admitted).await.unwrap_err().to_string();
    assert!(detail.contains("inside.corp.example:80, which is 10.1.2.3: an address of a private network"), "{detail}");
    let detail = said("169.254.169.254", 80).to_string();
    assert!(detail.contains("metadata service") && detail.contains("the address itself"), "{detail}");
    // What a refusal advises does what it says.
    assert!(egress(Reach::Public, &["[::1]:8080"], &[]).admit("[::1]", 8080).is_ok());
}

#[test]
fn a_list_with_a_wrong_rule_is_refused_by_its_name() {
    let config = EgressConfig { deny: vec!["ok.example".into(), "10.0.0.1/8".into()], ..EgressConfig::default() };
    let said = Egress::new(&config).unwrap_err().to_string();
    assert!(said.contains("`deny` of [egress]") && said.contains("10.0.0.0/8"), "{said}");
}
