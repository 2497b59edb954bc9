package server

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"net/http"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/google/uuid"

	"github.com/assetplatform/assetplatform/internal/config"
)

// Lifetimes of tokens. A refresh token is used up by its first use, which hands out the next.
const (
	accessLifetime  = config.AccessTokenLifetime
	refreshLifetime = 7 * 24 * time.Hour
)

// Answers to access tokens that are not accepted.
var (
	errNoToken      = newProblem(http.StatusUnauthorized, "UNAUTHORIZED", "Log in, and send the access token as: Authorization: Bearer TOKEN.")
	errBadToken     = newProblem(http.StatusUnauthorized, "UNAUTHORIZED", "This access token is not valid: log in again.")
	errBadKey       = newProblem(http.StatusUnauthorized, "UNAUTHORIZED", "This API key is not valid (any more): make another one.")
	errKeyGone      = newProblem(http.StatusUnauthorized, "TOKEN_EXPIRED", "The key that signed this access token is not accepted any more: refresh the session.")
	errTokenExpired = newProblem(http.StatusUnauthorized, "TOKEN_EXPIRED", "The access token has expired: refresh the session.")
)

// tokens signs and verifies access tokens (JWT, HS256). Each key is known by a kid made
// from its content, so that pods need to agree on keys only, not on names for them.
type tokens struct {
	signing string // kid
	keys    map[string][]byte
	parser  *jwt.Parser
}

// newTokens signs with one key, and verifies with it and the others.
func newTokens(signing string, others []string) *tokens {
	t := &tokens{
		signing: keyID(signing), keys: map[string][]byte{},
		parser: jwt.NewParser(jwt.WithValidMethods([]string{jwt.SigningMethodHS256.Alg()}), jwt.WithExpirationRequired()),
	}
	for _, key := range append(others, signing) {
		t.keys[keyID(key)] = []byte(key)
	}
	return t
}

func keyID(key string) string {
	sum := sha256.Sum256([]byte("kid:" + key))
	return hex.EncodeToString(sum[:6])
}

// claims say whose token it is, and of which session.
type claims struct {
	Session uuid.UUID `json:"sid"`
	jwt.RegisteredClaims
}

// sign makes an access token.
func (t *tokens) sign(userID, session uuid.UUID, now time.Time) (string, error) {
	token := jwt.NewWithClaims(jwt.SigningMethodHS256, claims{session, jwt.RegisteredClaims{
		Subject: userID.String(), IssuedAt: jwt.NewNumericDate(now), ExpiresAt: jwt.NewNumericDate(now.Add(accessLifetime)),
	}})
	token.Header["kid"] = t.signing
	return token.SignedString(t.keys[t.signing])
}

// verify returns the user and session of an access token that is genuine and has not
// expired; whether the session goes on is the store's to say.
func (t *tokens) verify(token string) (userID, session uuid.UUID, err error) {
	var c claims
	_, err = t.parser.ParseWithClaims(token, &c, func(token *jwt.Token) (any, error) {
		kid, _ := token.Header["kid"].(string)
		key, ok := t.keys[kid]
		if !ok {
			return nil, errKeyGone
		}
		return key, nil
	})
	if errors.Is(err, errKeyGone) {
		return uuid.Nil, uuid.Nil, errKeyGone
	}
	if errors.Is(err, jwt.ErrTokenExpired) {
		return uuid.Nil, uuid.Nil, errTokenExpired
	}
	if err != nil {
		return uuid.Nil, uuid.Nil, errBadToken
	}
	userID, err = uuid.Parse(c.Subject)
	if err != nil || userID == uuid.Nil {
		return uuid.Nil, uuid.Nil, errBadToken
	}
	return userID, c.Session, nil
}

// newRefreshToken returns 256 random bits.
func newRefreshToken() string {
	var b [32]byte
	rand.Read(b[:]) // never fails
	return base64.RawURLEncoding.EncodeToString(b[:])
}
