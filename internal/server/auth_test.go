package server

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/google/uuid"

	"github.com/assetplatform/assetplatform/internal/config"
	"github.com/assetplatform/assetplatform/test/services"
)

func TestRegisterAndProfile(t *testing.T) {
	t.Parallel()
	p := newPlatform(t)
	s := p.register("Alice_1")
	if s.User.Email != "Alice_1@example.com" || s.User.Username != "Alice_1" || s.User.Role != "user" || s.ExpiresIn != 900 {
		t.Errorf("session: %+v", s)
	}
	p.uploadPNG(s.AccessToken, "a.png", png("1"))
	r := p.get("/api/auth/profile", s.AccessToken).want(200)
	profile := decode1[profileBody](r)
	if profile.UserBody != s.User || profile.Counts != (countsBody{Assets: 1}) {
		t.Errorf("profile: %s", r.body)
	}
	if strings.Contains(string(r.body), "assword") {
		t.Errorf("the profile holds the password's hash: %s", r.body)
	}
	p.post("/api/auth/register", "", `{"email":"alice_1@EXAMPLE.com","username":"other","password":"`+password+`"}`).wantProblem(409, "CONFLICT", "")
	p.post("/api/auth/register", "", `{"email":"other@example.com","username":"ALICE_1","password":"`+password+`"}`).wantProblem(409, "CONFLICT", "")
}

func TestRegisterRefusals(t *testing.T) {
	t.Parallel()
	p := newPlatform(t)
	for _, test := range []struct{ body, field string }{
		{`{"username":"alice","password":"correct horse"}`, "email"},
		{`{"email":"alice","username":"alice","password":"correct horse"}`, "email"},
		{`{"email":"Al <al@example.com>","username":"alice","password":"correct horse"}`, "email"},
		{`{"email":"a@b\u0000","username":"alice","password":"correct horse"}`, "email"},
		{`{"email":"a\ud800@example.com","username":"alice","password":"correct horse"}`, "body"},
		{`{"email":"a\udc00\ud800@example.com","username":"alice","password":"correct horse"}`, "body"},
		{"{\"email\":\"a\xff@example.com\",\"username\":\"alice\",\"password\":\"correct horse\"}", "body"},
		{`{"email":7,"username":"alice","password":"correct horse"}`, "email"},
		{`{"email":null,"username":"alice","password":"correct horse"}`, "email"},
		{`{"email":"a@example.com","username":"al","password":"correct horse"}`, "username"},
		{`{"email":"a@example.com","username":"a23456789012345678901","password":"correct horse"}`, "username"},
		{`{"email":"a@example.com","username":"勇者勇者","password":"correct horse"}`, "username"},
		{`{"email":"a@example.com","username":"a b","password":"correct horse"}`, "username"},
		{`{"email":"a@example.com","username":"alice\n","password":"correct horse"}`, "username"},
		{`{"email":"a@example.com","username":"alice","password":"seven77"}`, "password"},
		{`{"email":"a@example.com","username":"alice","password":"` + strings.Repeat("x", 257) + `"}`, "password"},
		{`{"email":"a@example.com","username":"alice","password":"PassWord1"}`, "password"},
		{`{"email":"a@example.com","username":"alice_the_first","password":"Alice_The_First"}`, "password"},
		{`{"email":"a@example.com","username":"alice","password":"correct horse","role":"admin"}`, "role"},
		{`{"email":"a@example.com","username":"alice","password":"correct horse","Email":"b@example.com"}`, "Email"},
		{`{"email":"a@example.com",`, "body"},
		{`[]`, "body"},
		{`null`, "body"},
		{``, "body"},
	} {
		p.post("/api/auth/register", "", test.body).wantProblem(400, "VALIDATION_ERROR", test.field)
	}
	for _, field := range []string{"email", "username", "password"} { // all at once
		p.post("/api/auth/register", "", `{"email":"alice","username":"a b","password":"seven77"}`).wantProblem(400, "VALIDATION_ERROR", field)
	}
	p.do("POST", "/api/auth/register", "", strings.NewReader("email=a"), "Content-Type", "application/x-www-form-urlencoded").wantProblem(415, "UNSUPPORTED_MEDIA_TYPE", "")
	p.post("/api/auth/register", "", `{"email":"`+strings.Repeat("x", maxJSONBody)+`"}`).wantProblem(413, "FILE_TOO_LARGE", "")
	var users int
	if p.query("select count(*) from users", &users); users != 0 {
		t.Errorf("%d users were made", users)
	}
}

// What JSON cannot be is said in our words.
func TestMalformedJSON(t *testing.T) {
	t.Parallel()
	p := newPlatform(t)
	for body, says := range map[string]string{
		"\xef\xbb\xbf{}":     "begins with a byte order mark",
		`{"email":`:          "ends before the JSON in it does",
		`{"email":"a"`:       "ends before the JSON in it does",
		`{"email":x}`:        "is not JSON: byte 10 does not belong there",
		`{"email":1e999}`:    "holds a number 1e999 that is too large",
		`{} {}`:              "is not JSON: byte 4 does not belong there",
		`{"email":"\ud800"}`: "not Unicode",
	} {
		r := p.post("/api/auth/login", "", body).wantProblem(400, "VALIDATION_ERROR", "body")
		if text := string(r.body); !strings.Contains(text, says) || strings.Contains(text, "Go value") || strings.Contains(text, "invalid character") {
			t.Errorf("%s: %s", body, text)
		}
	}
}

func TestLogin(t *testing.T) {
	t.Parallel()
	p := newPlatform(t)
	p.register("alice")
	login := func(body string) reply { return p.post("/api/auth/login", "", body) }
	for _, name := range []string{`"email":"ALICE@example.com"`, `"username":"Alice"`, `"username":"alice@example.com"`} {
		s := decode1[sessionBody](login(`{` + name + `,"password":"` + password + `"}`).want(200))
		p.get("/api/auth/profile", s.AccessToken).want(200)
	}
	wrong := login(`{"username":"alice","password":"wrong"}`).wantProblem(401, "INVALID_CREDENTIALS", "")
	unknown := login(`{"username":"nobody","password":"wrong"}`).wantProblem(401, "INVALID_CREDENTIALS", "")
	if wrong.header.Get("WWW-Authenticate") != "Bearer" {
		t.Error("a 401 lacks WWW-Authenticate")
	}
	same := func(r reply) string {
		var body map[string]json.RawMessage
		r.decode(&body)
		return string(body["error"])
	}
	if same(wrong) != same(unknown) {
		t.Errorf("an unknown user is told apart: %s, %s", wrong.body, unknown.body)
	}
	login(`{"username":"alice\u0000","password":"x"}`).wantProblem(401, "INVALID_CREDENTIALS", "")
	login(`{"username":"alice","email":"alice@example.com","password":"x"}`).wantProblem(400, "VALIDATION_ERROR", "email")
	login(`{"password":"x"}`).wantProblem(400, "VALIDATION_ERROR", "email")
	login(`{"username":"alice"}`).wantProblem(400, "VALIDATION_ERROR", "password")
}

// A login that waits for its turn with the former password, while that is changed, is refused, counted and noted.
func TestLoginWithAFormerPassword(t *testing.T) {
	t.Parallel()
	p := newPlatform(t)
	alice := p.register("alice")
	for range hashSlots {
		p.server.passwords.slots <- struct{}{}
	}
	late := make(chan reply)
	go func() {
		late <- p.post("/api/auth/login", "", `{"username":"alice","password":"`+password+`"}`)
	}()
	time.Sleep(300 * time.Millisecond) // it has the former hash then; if it has not, it is refused all the same
	p.exec(`update users set password_hash = '` + nobody + `'`)
	for range hashSlots {
		<-p.server.passwords.slots
	}
	(<-late).wantProblem(401, "INVALID_CREDENTIALS", "")
	if got := actions(p.events(alice.AccessToken, "")); !slices.Equal(got, []string{"user.register", "user.login", "user.login_failed"}) {
		t.Errorf("events: %v", got)
	}
}

// An unknown user takes as long as a wrong password. The two are measured by turns, so
// that the machine's other work touches both.
func TestLoginTimeTellsNothing(t *testing.T) {
	p := newPlatform(t, func(c *config.Server) { c.RateLimits = config.RateLimits{} })
	p.register("alice")
	var known, unknown []time.Duration
	for range 11 {
		for _, probe := range []struct {
			name  string
			times *[]time.Duration
		}{{"alice", &known}, {"nobody", &unknown}} {
			start := time.Now()
			p.post("/api/auth/login", "", `{"username":"`+probe.name+`","password":"wrong"}`).want(401)
			*probe.times = append(*probe.times, time.Since(start))
		}
	}
	slices.Sort(known)
	slices.Sort(unknown)
	a, b := known[len(known)/2], unknown[len(unknown)/2]
	if a > 2*b || b > 2*a {
		t.Errorf("a known user takes %v, an unknown one %v", a, b)
	}
}

func TestAccessTokens(t *testing.T) {
	t.Parallel()
	p := newPlatform(t)
	s := p.register("alice")
	sign := func(key, kid string, method jwt.SigningMethod, c jwt.Claims) string {
		token := jwt.NewWithClaims(method, c)
		token.Header["kid"] = kid
		var secret any = []byte(key)
		if method == jwt.SigningMethodNone {
			secret = jwt.UnsafeAllowNoneSignatureType
		}
		text, err := token.SignedString(secret)
		if err != nil {
			t.Fatal(err)
		}
		return text
	}
	good := claims{uuid.New(), jwt.RegisteredClaims{Subject: s.User.ID.String(), ExpiresAt: jwt.NewNumericDate(time.Now().Add(time.Hour))}}
	key := p.server.config.JWTSecret
	expired, err := p.server.tokens.sign(s.User.ID, uuid.New(), time.Now().Add(-time.Hour))
	if err != nil {
		t.Fatal(err)
	}
	endless := good
	endless.ExpiresAt = nil
	parts := strings.Split(s.AccessToken, ".")
	for name, test := range map[string]struct{ token, code string }{
		"none":               {"", "UNAUTHORIZED"},
		"not a token":        {"abc", "UNAUTHORIZED"},
		"expired":            {expired, "TOKEN_EXPIRED"},
		"no such session":    {sign(key, keyID(key), jwt.SigningMethodHS256, good), "UNAUTHORIZED"},
		"another key":        {sign("another key", keyID(key), jwt.SigningMethodHS256, good), "UNAUTHORIZED"},
		"unknown kid":        {sign("another key", keyID("another key"), jwt.SigningMethodHS256, good), "TOKEN_EXPIRED"}, // the refresh token decides
		"no algorithm":       {sign("", keyID(key), jwt.SigningMethodNone, good), "UNAUTHORIZED"},
		"another algorithm":  {sign(key, keyID(key), jwt.SigningMethodHS512, good), "UNAUTHORIZED"},
		"without expiry":     {sign(key, keyID(key), jwt.SigningMethodHS256, endless), "UNAUTHORIZED"},
		"claims of another":  {parts[0] + "." + base64.RawURLEncoding.EncodeToString([]byte(`{"sub":"x"}`)) + "." + parts[2], "UNAUTHORIZED"},
		"the refresh token":  {s.RefreshToken, "UNAUTHORIZED"},
		"not a Bearer token": {" ", "UNAUTHORIZED"},
	} {
		r := p.get("/api/auth/profile", test.token)
		if r.wantProblem(401, test.code, ""); r.header.Get("WWW-Authenticate") != "Bearer" {
			t.Errorf("%s: no WWW-Authenticate", name)
		}
	}
	p.do("GET", "/api/auth/profile", "", nil, "Authorization", "bearer "+s.AccessToken).want(200)
	p.do("GET", "/api/auth/profile", "", nil, "Authorization", "Basic "+s.AccessToken).wantProblem(401, "UNAUTHORIZED", "")
}

// Three rolls (verify the new key, sign with it, drop the old one) fail no request.
func TestKeyRotation(t *testing.T) {
	t.Parallel()
	const oldKey, newKey = "the old key, long enough for HS256", "the new key, long enough for HS256"
	accepts := func(signing string, others []string, token string) bool {
		_, _, err := newTokens(signing, others).verify(token)
		return err == nil
	}
	sign := func(key string) string {
		token, err := newTokens(key, nil).sign(uuid.New(), uuid.New(), time.Now())
		if err != nil {
			t.Fatal(err)
		}
		return token
	}
	for _, step := range []struct {
		signing string
		others  []string
		old     bool
		new     bool
	}{
		{oldKey, nil, true, false},
		{oldKey, []string{newKey}, true, true},
		{newKey, []string{oldKey}, true, true},
		{newKey, nil, false, true},
	} {
		if accepts(step.signing, step.others, sign(oldKey)) != step.old || accepts(step.signing, step.others, sign(newKey)) != step.new {
			t.Errorf("signing with %q, verifying %q", step.signing, step.others)
		}
	}
}

func (p *platform) refresh(token string) reply {
	p.t.Helper()
	return p.post("/api/auth/refresh", "", `{"refreshToken":"`+token+`"}`)
}

func TestRefresh(t *testing.T) {
	t.Parallel()
	p := newPlatform(t)
	first := p.register("alice")
	second := decode1[sessionBody](p.refresh(first.RefreshToken).want(200))
	if second.User != first.User || second.RefreshToken == first.RefreshToken {
		t.Errorf("second session: %+v", second)
	}
	p.get("/api/auth/profile", second.AccessToken).want(200)
	other := decode1[sessionBody](p.post("/api/auth/login", "", `{"username":"alice","password":"`+password+`"}`).want(200))

	p.exec(`update refresh_tokens set used_at = used_at - interval '11 s'`)
	p.refresh(first.RefreshToken).wantProblem(401, "UNAUTHORIZED", "") // reuse: the family ends
	p.refresh(second.RefreshToken).wantProblem(401, "UNAUTHORIZED", "")
	p.get("/api/auth/profile", second.AccessToken).wantProblem(401, "UNAUTHORIZED", "")
	p.get("/api/auth/profile", first.AccessToken).wantProblem(401, "UNAUTHORIZED", "")
	p.get("/api/auth/profile", other.AccessToken).want(200)

	p.refresh("unknown").wantProblem(401, "UNAUTHORIZED", "")
	p.post("/api/auth/refresh", "", `{}`).wantProblem(400, "VALIDATION_ERROR", "refreshToken")
	p.post("/api/auth/refresh", "", `{"refreshToken":""}`).wantProblem(400, "VALIDATION_ERROR", "refreshToken")
}

// Tabs of one browser share a token: refreshing with it together logs nobody out.
func TestConcurrentRefreshHasOneWinner(t *testing.T) {
	t.Parallel()
	p := newPlatform(t)
	s := p.register("alice")
	replies := make([]reply, 5)
	var all sync.WaitGroup
	for i := range replies {
		all.Go(func() { replies[i] = p.refresh(s.RefreshToken) })
	}
	all.Wait()
	var won []sessionBody
	for _, r := range replies {
		if r.status == 200 {
			won = append(won, decode1[sessionBody](r))
		} else {
			r.wantProblem(409, "CONFLICT", "")
		}
	}
	if len(won) != 1 {
		t.Fatalf("%d requests won", len(won))
	}
	for range 3 {
		p.refresh(s.RefreshToken).wantProblem(409, "CONFLICT", "")
	}
	p.get("/api/auth/profile", won[0].AccessToken).want(200)
	next := decode1[sessionBody](p.refresh(won[0].RefreshToken).want(200))

	p.exec(`update refresh_tokens set used_at = used_at - interval '11 s'`)
	p.refresh(s.RefreshToken).wantProblem(401, "UNAUTHORIZED", "")
	p.get("/api/auth/profile", next.AccessToken).wantProblem(401, "UNAUTHORIZED", "")
	p.refresh(next.RefreshToken).wantProblem(401, "UNAUTHORIZED", "")
}

func TestLogoutEndsThisSessionOnly(t *testing.T) {
	t.Parallel()
	p := newPlatform(t)
	one := p.register("alice")
	two := decode1[sessionBody](p.post("/api/auth/login", "", `{"username":"alice","password":"`+password+`"}`).want(200))
	// Another pod of the same platform.
	pod := newPlatform(t, func(c *config.Server) { *c = p.server.config })
	pod.get("/api/auth/profile", one.AccessToken).want(200)

	r := p.post("/api/auth/logout", one.AccessToken, `{"refreshToken":"`+one.RefreshToken+`"}`).want(204)
	if len(r.body) != 0 {
		t.Errorf("a 204 with the body %q", r.body)
	}
	for _, server := range []*platform{p, pod} {
		server.get("/api/auth/profile", one.AccessToken).wantProblem(401, "UNAUTHORIZED", "")
		server.refresh(one.RefreshToken).wantProblem(401, "UNAUTHORIZED", "")
		server.get("/api/auth/profile", two.AccessToken).want(200)
	}
	p.post("/api/auth/logout", "", "").wantProblem(401, "UNAUTHORIZED", "")
	p.post("/api/auth/logout", two.AccessToken, `{"all":true}`).wantProblem(400, "VALIDATION_ERROR", "all")
	p.do("POST", "/api/auth/logout", two.AccessToken, nil).want(204) // the body is optional
}

// A refresh token ends its own session, whatever comes with it, and no other.
func TestLogoutByRefreshToken(t *testing.T) {
	t.Parallel()
	p := newPlatform(t)
	one := p.register("alice")
	login := func() sessionBody { return decode1[sessionBody](p.login("alice", password, "").want(200)) }
	expired, err := p.server.tokens.sign(one.User.ID, uuid.New(), time.Now().Add(-time.Hour))
	if err != nil {
		t.Fatal(err)
	}
	for name, access := range map[string]string{"another's": one.AccessToken, "expired": expired, "none": ""} {
		two := login()
		second := decode1[sessionBody](p.refresh(two.RefreshToken).want(200))
		for range 2 { // the token was used, and the second time its session has ended: no error
			p.post("/api/auth/logout", access, `{"refreshToken":"`+two.RefreshToken+`"}`).want(204)
		}
		p.refresh(second.RefreshToken).wantProblem(401, "UNAUTHORIZED", "")
		if r := p.get("/api/auth/profile", second.AccessToken); r.status != 401 {
			t.Errorf("with an access token that is %s: the session goes on", name)
		}
	}
	p.post("/api/auth/logout", one.AccessToken, `{"refreshToken":"unknown"}`).wantProblem(401, "UNAUTHORIZED", "")
	p.post("/api/auth/logout", expired, `{}`).wantProblem(401, "TOKEN_EXPIRED", "")
	p.get("/api/auth/profile", one.AccessToken).want(200)
	p.refresh(one.RefreshToken).want(200)
}

func TestPasswordHashes(t *testing.T) {
	t.Parallel()
	p := newPasswords()
	hash, err := p.hash(t.Context(), password)
	if err != nil || !strings.HasPrefix(hash, "$argon2id$v=19$m=19456,t=2,p=1$") {
		t.Fatalf("%s, %v", hash, err)
	}
	if again, _ := p.hash(t.Context(), password); again == hash {
		t.Error("two hashes share a salt")
	}
	for _, test := range []struct {
		password, hash string
		right          bool
	}{{password, hash, true}, {"wrong", hash, false}, {password, nobody, false}, {"", nobody, false}} {
		if right, err := verifyPassword(test.password, test.hash); err != nil || right != test.right {
			t.Errorf("%q against %s: %t, %v", test.password, test.hash, right, err)
		}
	}
	for _, bad := range []string{"", "$2a$10$abc", "$argon2id$v=19$m=x$a$b", "$argon2id$v=19$m=8,t=1,p=1$!$b"} {
		if _, err := verifyPassword(password, bad); err == nil {
			t.Errorf("took %q for a hash", bad)
		}
	}
	for _, line := range strings.Fields(commonPasswords) {
		if len(line) < 8 || line != strings.ToLower(line) {
			t.Errorf("common password %q can never match", line)
		}
	}
}

// Nothing that a request is trusted with shows up in the log.
func TestLogHoldsNoSecrets(t *testing.T) {
	t.Parallel()
	p := newPlatform(t)
	s := p.register("alice")
	p.post("/api/auth/login", "", `{"username":"alice","password":"hunter2 is wrong"}`).want(401)
	p.post("/api/auth/login", "", `{"username":"alice","password":{"x":"hunter2"}}`).want(400)
	p.post("/api/auth/login", "", `{"username":"alice","password":"hunter2`).want(400)
	next := decode1[sessionBody](p.refresh(s.RefreshToken).want(200))
	p.get("/api/auth/profile?token=hunter2", next.AccessToken).want(200)
	eventually(t, "the last request is in the log", func() bool { return strings.Contains(p.log.String(), `"/api/auth/profile"`) })
	for _, secret := range []string{"hunter2", password, s.AccessToken, s.RefreshToken, next.AccessToken, next.RefreshToken, services.PostgresPassword} {
		if strings.Contains(p.log.String(), secret) {
			t.Errorf("the log holds %q", secret)
		}
	}
	for line := range strings.Lines(p.log.String()) {
		var entry map[string]any
		if err := json.Unmarshal([]byte(line), &entry); err != nil {
			t.Errorf("not JSON: %s", line)
		}
	}
	if !strings.Contains(p.log.String(), fmt.Sprintf(`"user":%q`, s.User.ID)) {
		t.Error("the log does not name the user")
	}
}
