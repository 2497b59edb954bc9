package server

import (
	"context"
	"errors"
	"net/http"
	"net/mail"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/google/uuid"

	"github.com/assetplatform/assetplatform/internal/store"
)

// UserBody is a user as the API shows it. The profile embeds it; huma looks into
// exported types only.
type UserBody struct {
	ID        uuid.UUID `json:"id"`
	Email     string    `json:"email"`
	Username  string    `json:"username"`
	Role      string    `json:"role" enum:"user,admin"`
	CreatedAt time.Time `json:"createdAt"`
}

func userBodyOf(u store.User) UserBody {
	return UserBody{u.ID, u.Email, u.Username, u.Role, u.CreatedAt}
}

// sessionBody is what register, login and refresh answer.
type sessionBody struct {
	User         UserBody `json:"user"`
	AccessToken  string   `json:"accessToken"`
	RefreshToken string   `json:"refreshToken"`
	ExpiresIn    int      `json:"expiresIn" doc:"Seconds until the access token expires."`
}

func (s *Server) sessionBodyOf(session store.Session, refreshToken string) (sessionBody, error) {
	access, err := s.tokens.sign(session.User.ID, session.ID, time.Now())
	return sessionBody{userBodyOf(session.User), access, refreshToken, int(accessLifetime.Seconds())}, err
}

// beginSession answers a successful register or login. Who hangs up has the session all the same: that the password is right was told,
// and so must be noted.
func (s *Server) beginSession(ctx context.Context, user store.User) (sessionBody, error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), noteTimeout)
	defer cancel()
	refreshToken := newRefreshToken()
	session, err := s.store.CreateSession(ctx, user, refreshToken, refreshLifetime)
	if err != nil {
		return sessionBody{}, err
	}
	return s.sessionBodyOf(session, refreshToken)
}

// checkEmail finds what is no email address and nothing more, in a request's field email.
func checkEmail(email string) []error {
	if parsed, err := mail.ParseAddress(email); err != nil || parsed.Address != email || !isText(email) {
		return []error{&huma.ErrorDetail{Location: "body.email", Message: "is not an email address"}}
	}
	return nil
}

type registerRequest struct {
	Body struct {
		Email    string `json:"email" minLength:"3" maxLength:"254"`
		Username string `json:"username" minLength:"3" maxLength:"20" pattern:"^[A-Za-z0-9_]+$" patternDescription:"letters A-Z, digits and _ only"`
		Password string `json:"password" minLength:"8" maxLength:"256"`
	}
}

// Resolve checks what the schema cannot, so that it is told together with what the schema finds.
func (in *registerRequest) Resolve(huma.Context) []error {
	if in.Body.Email == "" { // the schema says so
		return nil
	}
	return checkEmail(in.Body.Email)
}

// register makes an account and logs it in.
func (s *Server) register(ctx context.Context, in *registerRequest) (*data[sessionBody], error) {
	if err := s.limiter.admit(ctx, http.Header{}, s.limiter.registrations(requestInfoOf(ctx).client)); err != nil {
		return nil, err
	}
	if s.passwords.tooCommon(in.Body.Password, in.Body.Email, in.Body.Username) {
		return nil, invalid("password", "is too easy to guess: choose another one")
	}
	hash, err := s.passwords.hash(ctx, in.Body.Password)
	if err != nil {
		return nil, err
	}
	user, err := s.store.CreateUser(ctx, store.NewUser{Email: in.Body.Email, Username: in.Body.Username, PasswordHash: hash})
	if err != nil {
		return nil, err
	}
	session, err := s.beginSession(ctx, user)
	return dataOf(session), err
}

type loginRequest struct {
	Body struct {
		Email    string `json:"email,omitempty" maxLength:"254"`
		Username string `json:"username,omitempty" maxLength:"254"`
		Password string `json:"password" minLength:"1" maxLength:"256"`
	}
}

// wrongCredentials does not tell whether it was the name or the password.
func wrongCredentials() *problem {
	return newProblem(http.StatusUnauthorized, "INVALID_CREDENTIALS", "No account has this name and password: check both.")
}

// refuseGuess counts and notes a wrong password, and returns the answer to it.
func (s *Server) refuseGuess(ctx context.Context, a attempt, userID uuid.UUID, action, name string, answer *problem) error {
	a.failed(ctx, answer)
	return errors.Join(answer, s.noteFailure(ctx, userID, action, name))
}

// noteTimeout bounds what is written for a client that may have gone.
const noteTimeout = 5 * time.Second

// noteFailure notes what was tried and refused, whether or not the client waits for the answer: else nobody who hangs up were seen.
func (s *Server) noteFailure(ctx context.Context, userID uuid.UUID, action, name string) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), noteTimeout)
	defer cancel()
	return s.store.NoteFailure(ctx, userID, action, name)
}

// login begins a session. An unknown user takes as long as a wrong password.
func (s *Server) login(ctx context.Context, in *loginRequest) (*data[sessionBody], error) {
	name := in.Body.Email + in.Body.Username
	if (in.Body.Email == "") == (in.Body.Username == "") {
		return nil, invalid("email", "give email or username, and not both")
	}
	if !isText(name) {
		return nil, wrongCredentials()
	}
	user, err := s.store.UserByLogin(ctx, name)
	account := user.ID.String()
	if errors.Is(err, store.ErrNotFound) {
		account, user.PasswordHash = "?"+strings.ToLower(name), nobody
	} else if err != nil {
		return nil, err
	}
	attempt := s.limiter.attempt(account, requestInfoOf(ctx).client)
	if err := attempt.admit(ctx); err != nil {
		return nil, err
	}
	err = s.passwords.inTurn(ctx, func() error {
		// Again: of those who waited, no more get to guess than the limit leaves.
		if err := attempt.admit(ctx); err != nil {
			return err
		}
		right, err := verifyPassword(in.Body.Password, user.PasswordHash)
		if err == nil && !right {
			err = s.refuseGuess(ctx, attempt, user.ID, "user.login_failed", name, wrongCredentials())
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	session, err := s.beginSession(ctx, user)
	switch {
	case errors.Is(err, store.ErrDisabled):
		err = errors.Join(err, s.noteFailure(ctx, user.ID, "user.login_failed", name))
	case errors.Is(err, store.ErrNotFound): // the password was changed since it was verified
		err = s.refuseGuess(ctx, attempt, user.ID, "user.login_failed", name, wrongCredentials())
	}
	return dataOf(session), err
}

type refreshRequest struct {
	Body struct {
		RefreshToken string `json:"refreshToken" minLength:"1" maxLength:"256"`
	}
}

// refresh exchanges a refresh token for a new pair of tokens.
func (s *Server) refresh(ctx context.Context, in *refreshRequest) (*data[sessionBody], error) {
	next := newRefreshToken()
	session, err := s.store.RefreshSession(ctx, in.Body.RefreshToken, next, refreshLifetime)
	if err != nil {
		return nil, err
	}
	body, err := s.sessionBodyOf(session, next)
	return dataOf(body), err
}

type logoutRequest struct {
	Authorization string `header:"Authorization"`
	Body          *struct {
		RefreshToken string `json:"refreshToken,omitempty" maxLength:"256"`
	}
}

// logout ends the session of the refresh token, which is proof enough: an access token
// lasts 15 minutes only. Without one it ends the session of the access token. No other.
func (s *Server) logout(ctx context.Context, in *logoutRequest) (*none, error) {
	if in.Body != nil && in.Body.RefreshToken != "" {
		userID, err := s.store.EndSessionOfToken(ctx, in.Body.RefreshToken)
		requestInfoOf(ctx).userID = userID
		return nil, err
	}
	who, err := s.authenticate(ctx, in.Authorization)
	if err == nil {
		err = who.may(ownsSession)
	}
	if err != nil {
		return nil, err
	}
	return nil, s.store.EndSession(ctx, who.ID, who.session)
}
