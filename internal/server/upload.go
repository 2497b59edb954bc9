package server

import (
	"bufio"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"mime/multipart"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/google/uuid"
	"golang.org/x/text/unicode/norm"

	"github.com/assetplatform/assetplatform/internal/objectstore"
	"github.com/assetplatform/assetplatform/internal/store"
)

const (
	// maxField bounds a form field other than the file, and formOverhead all that
	// surrounds the file, bytes.
	maxField     = 16 << 10
	formOverhead = 1 << 20

	// commitTimeout bounds each of the database's parts in an upload. The commit is not
	// cut short when the client goes away.
	commitTimeout = 10 * time.Second
)

// upload is a file on its way, or a piece of one. Bytes go to the bucket as they come, under
// a key that the store has noted; only then the row is written. Whatever ends it early
// leaves nothing behind: see discard.
type upload struct {
	server   *Server
	userID   uuid.UUID  // whose the bytes will be
	format   fileFormat // zero until the file was seen
	asset    store.NewAsset
	noted    bool // asset.ObjectKey is in the store's notes
	keepNote bool // what the bucket did with the key is not known: only the collector may decide

	versionOf *store.Asset // nil: a new asset
	by        uuid.UUID    // who sends a version
	match     []time.Time  // in which of its states the asset may be
}

// committed is what became of an upload.
type committed struct {
	asset     store.Asset
	status    int
	duplicate bool   // the owner had the bytes already: those that were stored now are not wanted
	answered  []byte // an earlier request with the same idempotency key was answered this
}

// uploadAsset stores a file, and answers with the asset it became.
func (s *Server) uploadAsset(w http.ResponseWriter, r *http.Request, who caller) error {
	if err := s.limiter.admit(r.Context(), w.Header(), s.limiter.general(who.ID, netip.Addr{}), s.limiter.uploads(who.ID)); err != nil {
		return err
	}
	u := &upload{server: s, userID: who.ID}
	var err error
	if u.asset.Idempotency.Key, err = idempotencyKey(r); err != nil {
		return err
	}
	return u.serve(w, r)
}

// serve receives the upload and answers.
func (u *upload) serve(w http.ResponseWriter, r *http.Request) error {
	s := u.server
	done, err := u.receive(w, r)
	if err != nil {
		u.abandon(r.Context())
		if problemOf(err).status >= http.StatusInternalServerError {
			s.metrics.upload(u.format.kind, "failed")
		} else {
			s.metrics.upload(u.format.kind, "refused")
		}
		w.Header().Set("Connection", "close") // the rest of the body is not wanted
		return err
	}
	if done.duplicate || done.answered != nil {
		s.discard(r.Context(), u.userID, u.asset.ObjectKey)
		s.metrics.upload(u.format.kind, "duplicate")
	} else {
		s.metrics.upload(u.format.kind, "stored")
	}
	setWriteDeadline(w, time.Now().Add(writeTimeout))
	body := assetAnswerOf(done.asset).Body
	if done.answered != nil {
		if err := json.Unmarshal(done.answered, &body); err != nil {
			return fmt.Errorf("an answer that was kept: %w", err)
		}
	}
	w.Header().Set("Location", assetPath(body.Data.ID))
	w.Header().Set("ETag", assetTag(body.Data.UpdatedAt, body))
	writeJSON(w, done.status, body)
	return nil
}

// largest is how many bytes a file of a kind may have.
func (s *Server) largest(kind store.FileType) int64 {
	if kind == store.Audio {
		return s.config.MaxFileSizeAudio
	}
	return s.config.MaxFileSizeImage
}

// largestFile is how many bytes a file may have if nothing is known of it yet.
func (s *Server) largestFile() int64 {
	return max(s.config.MaxFileSizeImage, s.config.MaxFileSizeAudio)
}

// receive reads the whole form and commits the upload.
func (u *upload) receive(w http.ResponseWriter, r *http.Request) (done committed, err error) {
	largest := u.server.largestFile()
	if r.ContentLength > largest+formOverhead {
		return done, fileTooLarge(largest)
	}
	body := http.MaxBytesReader(w, u.server.paced(w, r), largest+formOverhead)
	// multipart reads 4 KiB at a time: of the connection, that would be a system call and a deadline each.
	r.Body = struct {
		io.Reader
		io.Closer
	}{bufio.NewReaderSize(body, 64<<10), body}
	form, err := r.MultipartReader()
	if errors.Is(err, http.ErrNotMultipart) {
		return done, newProblem(http.StatusUnsupportedMediaType, "UNSUPPORTED_MEDIA_TYPE", "Send the file as multipart/form-data in the field file.")
	}
	if errors.Is(err, http.ErrMissingBoundary) {
		return done, newProblem(http.StatusBadRequest, "VALIDATION_ERROR", "The header Content-Type lacks the boundary of multipart/form-data: let the HTTP library set it.")
	}
	if err != nil {
		return done, fmt.Errorf("%w: %w", errBody, err)
	}
	if err := u.readForm(r.Context(), form); err != nil {
		return done, err
	}
	if !u.noted {
		return done, invalid("file", "is required")
	}
	if u.versionOf != nil {
		return u.commitVersion(r.Context())
	}
	u.asset.Idempotency.Fingerprint, u.asset.Answer = fingerprint(u.asset, uuid.Nil), keptAnswerOf
	if done, err = u.commit(r.Context()); errors.Is(err, store.ErrNotFound) {
		err = errNoProject
	}
	return done, err
}

// commit makes an asset of what was stored, also when the client has gone; errors are those of store.CommitUpload.
func (u *upload) commit(ctx context.Context) (done committed, err error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), commitTimeout)
	defer cancel()
	done.status = http.StatusCreated
	done.asset, done.duplicate, done.answered, err = u.server.store.CommitUpload(ctx, u.asset)
	return done, err
}

// maxIdempotencyKey bounds the header Idempotency-Key, bytes.
const maxIdempotencyKey = 255

func idempotencyKey(r *http.Request) (string, error) {
	key := r.Header.Get("Idempotency-Key")
	if len(key) > maxIdempotencyKey || !isText(key) {
		return "", invalid("Idempotency-Key", fmt.Sprintf("is longer than %d bytes or no text", maxIdempotencyKey))
	}
	return key, nil
}

// keptAnswerOf is what a request with the same key is answered.
func keptAnswerOf(a store.Asset) []byte {
	text, _ := json.Marshal(assetAnswerOf(a).Body) // bodies of ours are plain
	return text
}

// fingerprint tells uploads apart that were sent with one idempotency key; versionOf is the asset whose version one is.
func fingerprint(n store.NewAsset, versionOf uuid.UUID) [32]byte {
	text, _ := json.Marshal([]any{n.SHA256[:], n.OriginalName, n.Tags, n.Category, n.ProjectID, versionOf}) // plain values
	return sha256.Sum256(text)
}

// abandon removes what an upload that failed has stored.
func (u *upload) abandon(ctx context.Context) {
	if u.noted && !u.keepNote {
		u.server.discard(ctx, u.userID, u.asset.ObjectKey)
	}
}

// readForm reads the parts in the order in which they come.
func (u *upload) readForm(ctx context.Context, form *multipart.Reader) error {
	for categories := 0; ; {
		part, err := form.NextRawPart() // raw: a file is taken as it is, not decoded
		if err == io.EOF {              //nolint:errorlint // a wrapped one means that the body was cut off
			return nil
		}
		if err != nil {
			return bodyError(err)
		}
		switch name := part.FormName(); {
		case name == "file":
			err = u.readFile(ctx, part)
		case u.versionOf != nil: // all else is said about the asset already
			err = invalid(name, "is not a field of this request")
		case name == "tags":
			err = readField(part, u.addTags)
		case name == "projectId":
			if u.asset.ProjectID != uuid.Nil {
				err = invalid("projectId", "is there more than once")
			} else {
				err = readField(part, u.setProject)
			}
			if err == nil && u.asset.Idempotency.Key == "" { // else it may have been answered when there was another project
				err = u.checkProject(ctx)
			}
		case name == "category":
			if categories++; categories > 1 {
				err = invalid("category", "is there more than once")
			} else {
				err = readField(part, u.setCategory)
			}
		default:
			err = invalid(name, "is not a field of this request")
		}
		if err != nil {
			return err
		}
	}
}

func (u *upload) addTags(text string) error {
	tags, err := parseTags(text)
	known := func(tag string) bool { return slices.Contains(u.asset.Tags, tag) }
	u.asset.Tags = append(u.asset.Tags, slices.DeleteFunc(tags, known)...)
	if err == nil {
		err = checkTags(u.asset.Tags) // at once: a form may hold the field many times
	}
	return err
}

var errNoProject = invalid("projectId", "is no project of yours")

func (u *upload) setProject(text string) error {
	id, err := parseID(strings.TrimSpace(text))
	if err != nil {
		return invalid("projectId", "is not the id of a project")
	}
	u.asset.ProjectID = id
	return nil
}

// checkProject tells before the bytes come whether the user may put the asset into the project. The commit looks again.
func (u *upload) checkProject(ctx context.Context) error {
	if u.asset.ProjectID == uuid.Nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, commitTimeout)
	defer cancel()
	role, err := u.server.store.ProjectRole(ctx, u.userID, u.asset.ProjectID)
	switch {
	case errors.Is(err, store.ErrNotFound):
		return errNoProject
	case err == nil && role == store.AccessViewer:
		return store.ErrForbidden
	}
	return err
}

func (u *upload) setCategory(text string) error {
	text = norm.NFC.String(strings.TrimSpace(text))
	switch {
	case utf8.RuneCountInString(text) > maxCategory:
		return invalid("category", fmt.Sprintf("is longer than %d characters", maxCategory))
	case !isText(text):
		return invalid("category", "holds control characters")
	case text != "":
		u.asset.Category = &text
	}
	return nil
}

// readField reads a part that is not the file, and hands its text on.
func readField(part *multipart.Part, set func(string) error) error {
	text, err := io.ReadAll(io.LimitReader(part, maxField+1))
	if err != nil {
		return bodyError(err)
	}
	if len(text) > maxField {
		return invalid(part.FormName(), fmt.Sprintf("is longer than %d bytes", maxField))
	}
	return set(string(text))
}

// readFile streams a file to the bucket while it is examined.
func (u *upload) readFile(ctx context.Context, part *multipart.Part) error {
	if u.noted {
		return invalid("file", "is there more than once")
	}
	name, err := fileName(part)
	if err != nil {
		return err
	}
	source := bufio.NewReader(part)
	head, err := peek(source)
	if err != nil {
		return bodyError(err)
	}
	file, err := u.examine(head, name, part.Header.Get("Content-Type"))
	if err != nil {
		return err
	}
	defer file.inspection.stop()
	if err := u.put(ctx, &meter{source, file}); err != nil {
		return err
	}
	file.describe(&u.asset)
	return nil
}

// put stores a file under a fresh key. An error of the file is its client's.
func (u *upload) put(ctx context.Context, file io.Reader) error {
	key, err := u.note(ctx)
	if err != nil {
		return err
	}
	u.asset.ObjectKey = key
	// Not under the request's context: its end shows as an error of the body, after
	// which the bucket is tidied up.
	err = u.server.bucket.PutFor(context.WithoutCancel(ctx), u.userID, key, file)
	switch {
	case errors.Is(err, objectstore.ErrUnavailable):
		u.keepNote = true
		return err
	case errors.Is(err, objectstore.ErrBusy):
		return err
	case err != nil:
		return bodyError(err)
	}
	return nil
}

// note has the store note a key for the bytes.
func (u *upload) note(ctx context.Context) (key string, err error) {
	ctx, cancel := context.WithTimeout(ctx, commitTimeout)
	defer cancel()
	key, err = u.server.store.BeginUpload(ctx, u.userID)
	u.noted = err == nil
	return key, err
}

// bodyError marks what reading a form reports as the client's error.
func bodyError(err error) error {
	var p *problem
	if errors.As(err, &p) || errors.Is(err, errBody) {
		return err
	}
	return fmt.Errorf("%w: %w", errBody, err)
}

// fileName is the last part of the name that the client gave, in any language. Unity
// gives it as an encoded word (RFC 2047), whose base64 Part.FileName would take for a path.
func fileName(part *multipart.Part) (string, error) {
	_, parameters, _ := mime.ParseMediaType(part.Header.Get("Content-Disposition")) // with an error it has none
	name := parameters["filename"]
	if strings.HasPrefix(name, "=?") && strings.HasSuffix(name, "?=") {
		if decoded, err := new(mime.WordDecoder).DecodeHeader(name); err == nil {
			name = decoded
		}
	}
	// Browsers and curl write a quotation mark so (HTML, multipart/form-data encoding algorithm), and nothing else.
	return checkFileName("file", strings.ReplaceAll(name, "%22", `"`))
}

// checkFileName returns the last part of a name that a client gave in a field.
func checkFileName(field, name string) (string, error) {
	name = strings.TrimRight(name, "/")
	name = strings.TrimSpace(name[strings.LastIndexAny(name, `/\`)+1:])
	switch {
	case name == "" || name == "." || name == "..":
		return "", invalid(field, "has no file name")
	case !isText(name):
		return "", invalid(field, "has a name that is not UTF-8 or holds control characters")
	case turnsText(name):
		return "", invalid(field, "has a name that "+turnedText)
	case utf8.RuneCountInString(name) > maxName:
		return "", invalid(field, fmt.Sprintf("has a name of more than %d characters", maxName))
	}
	return name, nil
}

// turnedText is what is wrong with a name that turnsText.
const turnedText = "holds characters that turn the direction of text, which make an extension look like another one"

// turnsText tells whether a text has overrides, embeddings or isolates of direction (Unicode Standard Annex 9, 2). Letters that are read
// from right to left need none.
func turnsText(text string) bool {
	return strings.ContainsFunc(text, func(r rune) bool { return r >= 0x202a && r <= 0x202e || r >= 0x2066 && r <= 0x2069 })
}

func fileTooLarge(limit int64) error {
	p := newProblem(http.StatusRequestEntityTooLarge, "FILE_TOO_LARGE", fmt.Sprintf("Send a file of at most %d bytes.", limit))
	p.details = []detail{{"file", fmt.Sprintf("is larger than %d bytes", limit)}}
	return p
}
