//! The promises of JSON mode, checked against serde_json where it is the judge.

use proptest::prelude::*;
use serde_json::value::RawValue;

use super::*;

fn cut(text: &str) -> Result<Vec<String>, BodyError> {
    cut_bytes(text.as_bytes())
}

fn cut_bytes(body: &[u8]) -> Result<Vec<String>, BodyError> {
    let messages = split(&Bytes::copy_from_slice(body))?;
    let one = |at| String::from_utf8(messages.slice(at, at + 1).wire().to_vec()).unwrap();
    Ok((0..messages.lengths().len()).map(one).collect())
}

#[test]
fn an_array_is_flattened_by_one_level_and_every_element_keeps_its_bytes() {
    for (body, messages) in [
        ("1", vec!["1"]),
        (" {\"b\" : 1,\"a\":2,\"a\":3}\n", vec!["{\"b\" : 1,\"a\":2,\"a\":3}"]),
        ("[1,2]", vec!["1", "2"]),
        ("[ 1 ,\t2\n]", vec!["1", "2"]),
        ("[[1, 2],[3]]", vec!["[1, 2]", "[3]"]),
        ("[[]]", vec!["[]"]),
        ("[{}]", vec!["{}"]),
        ("[1,2, 3,4]", vec!["1", "2", "3", "4"]),
        ("\"[1]\"", vec!["\"[1]\""]),
        ("12345678901234567890.10e+5", vec!["12345678901234567890.10e+5"]),
        ("[null,true,false,-0]", vec!["null", "true", "false", "-0"]),
        ("[\"\\ud800\",\"\u{e4}\u{20ac}\"]", vec!["\"\\ud800\"", "\"\u{e4}\u{20ac}\""]),
    ] {
        assert_eq!(cut(body), Ok(messages.iter().map(ToString::to_string).collect()), "{body}");
    }
}

#[test]
fn the_wire_form_joins_elements_with_commas() {
    for (body, wire) in [("[1, 2 ,3]", "1,2,3"), ("[1,2,3]", "1,2,3"), (" [ [1 , 2] ] ", "[1 , 2]")] {
        let messages = split(&Bytes::from_static(body.as_bytes())).unwrap();
        assert_eq!(&messages.wire()[..], wire.as_bytes());
    }
}

#[test]
fn a_value_and_a_packed_array_are_not_copied() {
    for body in ["{\"a\": 1}", "[1,2,3]", "  [{},{}]  ", "[1]"] {
        let body = Bytes::from_static(body.as_bytes());
        let messages = split(&body).unwrap();
        assert!(body.as_ptr_range().contains(&messages.wire().as_ptr()));
    }
}

#[test]
fn what_is_no_json_is_refused_with_its_position() {
    for (body, what) in [
        ("", "expected a value at byte 0"),
        ("  ", "expected a value at byte 2"),
        ("{ invalid json }", "expected a key at byte 2"),
        ("NaN", "expected a value at byte 0"),
        ("[1,]", "expected a value at byte 3"),
        ("[,1]", "expected a value at byte 1"),
        ("{\"a\":1,}", "expected a key at byte 7"),
        ("{\"a\" 1}", "expected ':' at byte 5"),
        ("[1 2]", "expected ',' or ']' at byte 3"),
        ("{\"a\":[1}", "expected ',' or ']' at byte 7"),
        ("[1]]", "trailing characters at byte 3"),
        ("1 2", "trailing characters at byte 2"),
        ("[", "expected a value at byte 1"),
        ("[1", "expected ',' or ']' at byte 2"),
        ("\"a", "unfinished string at byte 2"),
        ("\"a\nb\"", "control character in a string at byte 2"),
        ("\"\\x\"", "unknown escape at byte 2"),
        ("\"\\u12g4\"", "expected four hexadecimal digits at byte 2"),
        ("01", "leading zero at byte 1"),
        ("-", "expected a digit at byte 1"),
        ("1.", "expected a digit at byte 2"),
        ("1e", "expected a digit at byte 2"),
        ("+1", "expected a value at byte 0"),
        ("tru", "expected a value at byte 0"),
        ("\u{feff}1", "expected a value at byte 0"),
    ] {
        assert_eq!(cut(body), Err(BodyError::InvalidJson(what.into())), "{body:?}");
    }
    assert_eq!(
        cut_bytes(b"\"\xc0\xaf\""),
        Err(BodyError::InvalidJson("not UTF-8 at byte 1".into())),
        "overlong"
    );
    assert_eq!(cut("[]"), Err(BodyError::EmptyArray));
    assert_eq!(cut(" [ \n] "), Err(BodyError::EmptyArray));
    assert!(matches!(cut("[]x"), Err(BodyError::InvalidJson(_))));
}

#[test]
fn a_depth_bomb_is_refused_and_what_is_accepted_can_be_read_inside_an_array() {
    for bomb in ["[".repeat(1 << 20), "{\"a\":".repeat(1 << 18), "[{\"a\":".repeat(1 << 18)] {
        let Err(BodyError::InvalidJson(what)) = cut(&bomb) else { panic!("accepted") };
        assert!(what.starts_with("nested too deeply"), "{what}");
    }
    let deepest = NESTING_MAX as usize;
    let message = format!("{}{}", "[".repeat(deepest), "]".repeat(deepest));
    assert_eq!(cut(&format!("[{message}]")), Ok(vec![message.clone()]));
    let answer: Result<serde_json::Value, _> = serde_json::from_str(&format!("[{message}]"));
    assert!(answer.is_ok());
    assert!(cut(&format!("[[{message}]]")).is_err());
}

/// What serde_json makes of a body: the oracle.
fn oracle(body: &[u8]) -> Option<Vec<String>> {
    let text = std::str::from_utf8(body).ok()?;
    let whole: &RawValue = serde_json::from_str(text).ok()?;
    if whole.get().starts_with('[') {
        let elements: Vec<&RawValue> = serde_json::from_str(text).ok()?;
        return Some(elements.iter().map(|element| element.get().to_owned()).collect());
    }
    Some(vec![whole.get().to_owned()])
}

/// JSON-like text: real tokens in any order, so that right and wrong texts are both common.
fn token_soup() -> impl Strategy<Value = String> {
    let token = prop::sample::select(vec![
        "[",
        "]",
        "{",
        "}",
        ",",
        ":",
        " ",
        "\n",
        "\"a\"",
        "\"\\n\"",
        "\"\\u00e4\"",
        "\"longer than eight\"",
        "0",
        "-1",
        "1.5e3",
        "true",
        "null",
        "\"",
        "\\",
        "\u{1}",
        "\u{e4}",
        "{\"k\":1}",
        "[1,2]",
        "1e",
        "00",
    ]);
    prop::collection::vec(token, 0..12).prop_map(|tokens| tokens.concat())
}

/// A valid value, written with random white space.
fn valid() -> impl Strategy<Value = String> {
    let space = prop::sample::select(vec!["", "", " ", "\n\t"]);
    let leaf = prop_oneof![
        any::<i64>().prop_map(|number| number.to_string()),
        any::<f64>().prop_filter("finite", |number| number.is_finite()).prop_map(|n| format!("{n:e}")),
        any::<String>().prop_map(|text| serde_json::to_string(&text).unwrap()),
        prop::sample::select(vec!["true", "false", "null"]).prop_map(str::to_owned),
    ];
    leaf.prop_recursive(4, 32, 5, move |inner| {
        let pairs = prop::collection::vec((any::<String>(), inner.clone(), space.clone()), 0..4);
        prop_oneof![
            (prop::collection::vec(inner, 0..5), space.clone())
                .prop_map(|(items, gap)| format!("[{gap}{}{gap}]", items.join(&format!("{gap},{gap}")))),
            pairs.prop_map(|pairs| {
                let pair = |(key, value, gap): &(String, String, &str)| {
                    format!("{gap}{}{gap}:{gap}{value}{gap}", serde_json::to_string(key).unwrap())
                };
                format!("{{{}}}", pairs.iter().map(pair).collect::<Vec<_>>().join(","))
            }),
        ]
    })
}

fn agrees(body: &[u8]) -> Result<(), TestCaseError> {
    let ours = match cut_bytes(body) {
        Ok(messages) => Some(messages),
        Err(BodyError::EmptyArray) => Some(Vec::new()),
        Err(BodyError::InvalidJson(_) | BodyError::TooManyMessages) => None,
    };
    prop_assert_eq!(ours, oracle(body));
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn valid_json_is_cut_as_serde_json_cuts_it(body in valid()) {
        prop_assert!(oracle(body.as_bytes()).is_some());
        agrees(body.as_bytes())?;
    }

    #[test]
    fn any_text_is_judged_as_serde_json_judges_it(body in token_soup()) {
        agrees(body.as_bytes())?;
    }

    #[test]
    fn one_wrong_byte_is_judged_as_serde_json_judges_it(body in valid(), at: prop::sample::Index, byte: u8) {
        let mut body = body.into_bytes();
        let at = at.index(body.len());
        body[at] = byte;
        agrees(&body)?;
    }

    #[test]
    fn any_bytes_are_judged_as_serde_json_judges_them(body in prop::collection::vec(any::<u8>(), 0..24)) {
        agrees(&body)?;
    }
}

#[test]
fn a_body_of_more_messages_than_a_request_may_carry_is_refused_before_their_lengths_are_kept() {
    use crate::types::limits::MESSAGES_PER_REQUEST_MAX;
    let array = |count: usize| format!("[{}1]", "1,".repeat(count - 1));
    let most = split(&Bytes::from(array(MESSAGES_PER_REQUEST_MAX))).unwrap();
    assert_eq!(most.lengths().len(), MESSAGES_PER_REQUEST_MAX);
    assert_eq!(split(&Bytes::from(array(MESSAGES_PER_REQUEST_MAX + 1))), Err(BodyError::TooManyMessages));
}
