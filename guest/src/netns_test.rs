use super::*;

fn words(text: &str) -> impl Iterator<Item = OsString> {
    text.split_whitespace().map(OsString::from).collect::<Vec<_>>().into_iter()
}

#[test]
fn each_job_has_its_own_words() {
    let path = PathBuf::from("/run/netns/x");
    for (text, job) in [
        ("make /run/netns/x", Job::Make),
        ("carry /run/netns/x", Job::Carry),
        ("drop /run/netns/x", Job::Drop),
        (
            "restore /run/netns/x 10.1.0.2/24 fd00::2/64",
            Job::Restore(vec![("10.1.0.2".parse().unwrap(), 24), ("fd00::2".parse().unwrap(), 64)]),
        ),
    ] {
        assert_eq!(parse(words(text)).unwrap(), (job, path.clone()), "{text:?}");
    }
}

#[test]
fn what_makes_no_sense_is_refused() {
    let many = format!("restore /x {}", "10.0.0.1/8 ".repeat(MOST_ADDRESSES + 1));
    for text in [
        "",
        "make",
        "make x",
        "make ../x",
        "make /x y",
        "carry /x eth1",
        "restore /x",
        "restore /x 10.0.0.1",
        "restore /x 10.0.0.1/33",
        "lose /x",
        &many,
    ] {
        assert!(parse(words(text)).is_err(), "{text:?}");
    }
}
