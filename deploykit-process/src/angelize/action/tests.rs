use proptest::prelude::*;

use super::*;

fn parse(text: &str) -> Action {
    text.parse().unwrap()
}

#[test]
fn an_action_is_verbs_a_parameter_and_what_is_expected() {
    let action = parse("wait:/bin/check --all=7");
    assert_eq!(action.verbs, [Verb::Wait]);
    let action = parse("service,Start:%run%=0");
    assert_eq!(action.verbs, [Verb::Service, Verb::Start]);
    assert_eq!((action.parameter.as_str(), action.expected), ("%run%", Expected::Code(0)));
    assert_eq!((parse("start").target(), parse("start:").target()), ("%run%", "%run%"));
    assert_eq!(parse("http://h:80/a=b").expected, Expected::Default);
    assert_eq!(parse("sleep:1000").parameter, "1000");
    assert_eq!(parse("wait:=3").parameter, "=3");
}

#[test]
fn every_verb_has_its_default() {
    let expected = |text| {
        let action = parse(text);
        action.expected_of(action.verbs[0])
    };
    assert_eq!(expected("exec:x"), Some(0));
    assert_eq!(expected("wait:x=-1"), Some(-1));
    assert_eq!(expected("http://h"), Some(200));
    assert_eq!(expected("https://h=204"), Some(204));
    assert_eq!(expected("http://h=0"), Some(200));
    assert_eq!(expected("service:x"), Some(4));
    assert_eq!(expected("start:x=5"), None);
}

#[test]
fn a_number_behind_a_query_is_taken_for_the_status_and_told() {
    let (action, doubt) = Action::parse("http://h/x?id=7").unwrap();
    assert_eq!((action.parameter.as_str(), action.expected), ("//h/x?id", Expected::Code(7)));
    let doubt = doubt.unwrap();
    assert_eq!(parse(&doubt.as_read), action);
    assert_eq!(parse(&doubt.whole).parameter, "//h/x?id=7");
    assert!(doubt.to_string().contains("`http://h/x?id=7 =>`"));
}

#[test]
fn only_what_can_be_meant_otherwise_is_in_doubt() {
    for text in [
        "http://h/x?id=7",
        "http://h/a=7",
        "start:/opt/a --port=80",
        "wait:x -n=1",
        "http://h#a=200",
    ] {
        assert!(Action::parse(text).unwrap().1.is_some(), "{text}");
    }
    for text in [
        "http://h/x=201",
        "start:%run%=0",
        "wait:/bin/x=3",
        "http://h/x?id=7 => 200",
        "http://h/x?id=7 =>",
        "http://h/x?id=a",
    ] {
        assert!(Action::parse(text).unwrap().1.is_none(), "{text}");
    }
}

#[test]
fn an_arrow_ends_the_parameter() {
    let cases = [
        ("http://h/x?id=7 => 204", "//h/x?id=7", Expected::Code(204)),
        ("http://h/x?id=7 =>204", "//h/x?id=7", Expected::Code(204)),
        ("start:/opt/a --port=80 =>", "/opt/a --port=80", Expected::Default),
        ("wait: => 3", "", Expected::Code(3)),
        ("wait:echo a => b", "echo a => b", Expected::Default),
        ("wait:echo a => 1 => 2", "echo a => 1", Expected::Code(2)),
    ];
    for (text, parameter, expected) in cases {
        let action = parse(text);
        assert_eq!((action.parameter.as_str(), action.expected), (parameter, expected), "{text}");
    }
}

#[test]
fn errors_name_the_action_the_place_and_what_is_allowed() {
    let error = |text: &str| text.parse::<Action>().unwrap_err();
    let unknown = error("start,wiat:x");
    assert_eq!(
        unknown.to_string(),
        "`wiat` at character 7 of the action `start,wiat:x` is no verb"
    );
    assert_eq!(
        unknown.hint().unwrap(),
        "did you mean `wait`? Allowed are start, stop, exec, wait, http, https, sleep, service"
    );
    assert_eq!(error("").to_string(), "a verb is missing at character 1 of the action ``");
    assert_eq!(error("exec,:x"), ActionError::NoVerb { action: "exec,:x".into(), at: 6 });
    assert_eq!(error("http:h"), ActionError::Address { action: "http:h".into(), at: 6 });
    for text in ["sleep", "sleep:1s", "sleep:5=5", "sleep:-1", "sleep,exec:5"] {
        assert!(matches!(error(text), ActionError::Sleep { .. }), "{text}");
    }
    for text in ["http://", "http://h/a b", "https:127.0.0.1"] {
        assert!(matches!(error(text), ActionError::Address { .. }), "{text}");
    }
    assert!(matches!(error("exec:a\0"), ActionError::Nul { .. }));
}

#[test]
fn a_list_takes_the_first_verb_that_it_allows() {
    assert_eq!(parse("stop,start:x").verb_in(ActionList::Start), Ok(Verb::Start));
    assert_eq!(parse("stop,start:x").verb_in(ActionList::Stop), Ok(Verb::Stop));
    let error = parse("start:x").verb_in(ActionList::Watch).unwrap_err();
    assert_eq!(error.to_string(), "the action `start:x` has no meaning in `watch`");
    assert_eq!(error.hint().unwrap(), "allowed there are exec, wait, http, https, sleep, service");
}

#[test]
fn an_action_is_written_in_the_old_form_where_that_is_clear() {
    for text in [
        "start",
        "service,start:%run%",
        "http://h/x=204",
        "sleep:1000",
        "wait:x => 3",
        "wait: => 3",
    ] {
        let written = parse(text).to_string();
        assert_eq!(written, text.replace("x => 3", "x=3"));
    }
    assert_eq!(parse("http://h/x?id=7").to_string(), "http://h/x?id => 7");
    assert_eq!(parse("http://h/x?id=7 =>").to_string(), "http://h/x?id=7 =>");
}

fn actions() -> impl Strategy<Value = Action> {
    let verbs = proptest::sample::subsequence(
        vec![Verb::Start, Verb::Stop, Verb::Exec, Verb::Wait, Verb::Service],
        1..5,
    );
    let expected = prop_oneof![Just(Expected::Default), any::<i32>().prop_map(Expected::Code)];
    let commands = (verbs, "[a=>% 0-9?:,-]{0,12}", expected.clone());
    let addresses = (Just(vec![Verb::Http, Verb::Https]), "//[a=>%0-9?:,-]{1,12}", expected);
    prop_oneof![commands, addresses].prop_map(|(verbs, parameter, expected)| Action {
        verbs,
        parameter,
        expected,
    })
}

proptest! {
    #[test]
    fn what_is_written_is_read_back(action in actions()) {
        let written = action.to_string();
        let (read, doubt) = Action::parse(&written).unwrap();
        prop_assert_eq!(&read, &action, "{}", written);
        prop_assert!(doubt.is_none(), "{}", written);
    }

    #[test]
    fn whatever_is_read_is_written_so_that_it_means_the_same(text in "(start|wait|http|sleep|x)?,?(exec)?:?(//)?.{0,12}(=|=>| =>)?[0-9]{0,4}") {
        if let Ok((action, doubt)) = Action::parse(&text) {
            prop_assert_eq!(&action.to_string().parse::<Action>().unwrap(), &action);
            if let Some(doubt) = doubt {
                prop_assert_eq!(&doubt.as_read.parse::<Action>().unwrap(), &action);
                prop_assert!(Action::parse(&doubt.whole).unwrap().1.is_none());
            }
        }
    }
}
