package controllers

import (
	"regexp"
	"strings"
	"unicode/utf8"
)

// outsideLimit is how much of a foreign text a condition repeats, in bytes.
const outsideLimit = 300

var (
	// Everything between scheme and the last "@" of a word: passwords may hold "@" and "/" themselves.
	urlCredentials = regexp.MustCompile(`([a-zA-Z][a-zA-Z0-9+.-]*://)[^\s"'<>]*@`)
	// password=x, "api_key": "x", Authorization: Bearer x, AWS_SECRET_ACCESS_KEY='x' …
	namedSecrets = regexp.MustCompile(`(?i)([\w.-]*(?:password|passwd|pwd|secret|token|api[_-]?key|access[_-]?key|credential|authorization)[\w.-]*["']?\s*[=:]\s*)(?:(?:bearer|basic)\s+)?("[^"]*"?|'[^']*'?|[^\s"',;)]+)`)
	number       = regexp.MustCompile(`^\d+$`)
	// JSON web tokens.
	webTokens = regexp.MustCompile(`eyJ[\w-]{8,}\.[\w-]+(\.[\w-]*)?`)
	// The name that a controller made up for a pod that the cluster refuses, new at each try.
	refusedPod = regexp.MustCompile(`pods "[^"]*"`)
	// Container ids, UIDs and the like: they differ at each try.
	randomHex = regexp.MustCompile(`\b[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}\b|\b[0-9a-f]{64}\b`)
)

// outside makes a text that others wrote (a log line, a kubelet's or a webhook's
// message) fit for a status that everybody may read: one line, no secrets, no names
// that change with each try, not long.
func outside(text string) string {
	return own(namedSecrets.ReplaceAllStringFunc(strings.ToValidUTF8(text, ""), hideNamed))
}

// hideNamed hides the value in name=value, but not a number (a quota counts secrets=3)
// nor what follows a field of an object (spec.imagePullSecrets: duplicate entries).
func hideNamed(found string) string {
	parts := namedSecrets.FindStringSubmatch(found)
	if number.MatchString(parts[2]) || strings.HasPrefix(strings.TrimPrefix(parts[1], "."), "spec.") {
		return found
	}
	return parts[1] + "…"
}

// own makes a text of our own pods fit for a status. By contract it holds no secrets;
// in its sentences "password: correct it" is advice.
func own(text string) string {
	text = strings.Join(strings.Fields(strings.ToValidUTF8(text, "")), " ")
	text = urlCredentials.ReplaceAllString(text, "${1}…@")
	text = webTokens.ReplaceAllString(text, "…")
	text = refusedPod.ReplaceAllString(text, "pods")
	text = randomHex.ReplaceAllString(text, "…")
	if len(text) > outsideLimit {
		cut := outsideLimit
		for !utf8.RuneStart(text[cut]) {
			cut--
		}
		text = text[:cut] + "…"
	}
	return strings.TrimSuffix(text, ".")
}

// lastLine is the last line of a log, fit for a status.
func lastLine(log string) string {
	lines := strings.Split(strings.TrimSpace(log), "\n")
	return outside(lines[len(lines)-1])
}
