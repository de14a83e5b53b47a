use super::*;

fn words(text: &str) -> impl Iterator<Item = OsString> {
    text.split_whitespace().map(OsString::from).collect::<Vec<_>>().into_iter()
}

#[test]
fn options_come_before_the_program_and_are_not_taken_from_it() {
    let enclosure = parse(words(
        "--parent 77 --if-allowed --tap fb0 1900000001 --most-files 64 --most-file-bytes 4096 --processes --watched -- /bin/x --tap",
    ))
    .unwrap();
    let expected = Enclosure {
        parent: Some(77),
        if_allowed: true,
        tap: Some(("fb0".to_owned(), 1_900_000_001)),
        most_files: Some(64),
        most_file_bytes: Some(4096),
        processes: true,
        watched: true,
        program: vec![c"/bin/x".to_owned(), c"--tap".to_owned()],
    };
    assert_eq!(enclosure, expected);
    assert_eq!(parse(words("-- /bin/x")).unwrap().program, [c"/bin/x".to_owned()]);
}

#[test]
fn what_makes_no_sense_is_refused() {
    for text in [
        "",
        "--",
        "/bin/x",
        "--tap",
        "--tap fb0 -- /bin/x",
        "--tap fb0 root -- /bin/x",
        "--tap fb0 -1 -- /bin/x",
        "--most-files many -- /bin/x",
        "--most-file-bytes",
        "--processes /bin/x",
        "--parent -- /bin/x",
        "--parent init -- /bin/x",
        "--unknown -- /bin/x",
    ] {
        assert!(parse(words(text)).is_err(), "{text:?}");
    }
}

#[test]
fn a_process_ends_as_another_did() {
    for (body, expected) in
        [(0, 0), (7 << 8, 7 << 8), (libc::SIGTERM, libc::SIGTERM), (libc::SIGKILL, libc::SIGKILL)]
    {
        let child = syscall::fork_to(|| process::end_as(body)).unwrap();
        assert_eq!(process::wait_for(child).unwrap(), expected);
    }
}
