package config

import (
	"encoding/base64"
	"strings"
	"time"
)

// AccessTokenLifetime is how long a token is accepted that the server has signed.
const AccessTokenLifetime = 15 * time.Minute

// SafeKeyLength is how many bytes a signing key must have, as many as the hash that it goes into (RFC 7518, section 3.2), so that it
// is not found by trying. Shorter ones, which a studio may bring along, are taken with a warning.
const SafeKeyLength = 32

// encodedKey comes before a key of JWT_VERIFY_SECRETS that a comma list could not hold as it is.
const encodedKey = "base64:"

// JoinKeys writes keys as the value of JWT_VERIFY_SECRETS, without the blanks around them that JWT_SECRET does not count either.
func JoinKeys(keys []string) string {
	items := make([]string, len(keys))
	for i, key := range keys {
		key = strings.TrimSpace(key)
		items[i] = key
		if strings.Contains(key, ",") || strings.HasPrefix(key, encodedKey) {
			items[i] = encodedKey + base64.StdEncoding.EncodeToString([]byte(key))
		}
	}
	return strings.Join(items, ",")
}

// SplitKeys reads what JoinKeys has written. An item that is not base64, though it says so, is left out.
func SplitKeys(list string) []string {
	keys, _ := splitKeys(list)
	return keys
}

// splitKeys also says whether every item could be read.
func splitKeys(list string) (keys []string, ok bool) {
	ok = true
	for item := range strings.SplitSeq(list, ",") {
		item = strings.TrimSpace(item)
		if text, encoded := strings.CutPrefix(item, encodedKey); encoded {
			key, err := base64.StdEncoding.DecodeString(text)
			ok = ok && err == nil
			item = string(key)
		}
		if item != "" {
			keys = append(keys, item)
		}
	}
	return keys, ok
}
