package server

import (
	"context"
	"crypto/md5"  //nolint:gosec // of the protocol: against mistakes on the way, not against people
	"crypto/sha1" //nolint:gosec // as well
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"hash"
	"mime"
	"net/http"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/google/uuid"

	"github.com/assetplatform/assetplatform/internal/store"
)

// The tus protocol (tus.io/protocols/resumable-upload), and what of its extensions there is.
const (
	tusVersion    = "1.0.0"
	tusExtensions = "creation,creation-with-upload,termination,checksum,expiration"
	tusAlgorithms = "sha256,sha1,md5"
	tusBody       = "application/offset+octet-stream"
	// maxTusMetadata bounds the header Upload-Metadata, bytes.
	maxTusMetadata = 16 << 10
)

// What pages of other origins may send and see.
var (
	tusRequestHeaders = []string{"Tus-Resumable", "Upload-Checksum", "Upload-Length", "Upload-Metadata", "Upload-Offset", "X-HTTP-Method-Override"}
	tusAnswerHeaders  = []string{
		"Location-Asset", "Tus-Checksum-Algorithm", "Tus-Extension", "Tus-Max-Size", "Tus-Resumable", "Tus-Version",
		"Upload-Expires", "Upload-Length", "Upload-Metadata", "Upload-Offset",
	}
)

// tus registers a route of the protocol, for callers who may write.
func tus(api routeList, pattern, summary string, status int, handle func(http.ResponseWriter, *http.Request, caller) error) {
	stream(api, pattern, summary, tusDocs(status), writes, func(w http.ResponseWriter, r *http.Request, who caller) error {
		w.Header().Set("Tus-Resumable", tusVersion)
		w.Header().Set("Cache-Control", "no-store")
		if r.Header.Get("Tus-Resumable") != tusVersion {
			w.Header().Set("Tus-Version", tusVersion)
			return newProblem(http.StatusPreconditionFailed, "PRECONDITION_FAILED", "Send the header Tus-Resumable: "+tusVersion+"; other versions of the protocol are not spoken here.")
		}
		return handle(w, r, who)
	})
}

// tusOptions tells what of the protocol there is.
func (s *Server) tusOptions(w http.ResponseWriter, _ *http.Request) {
	h := w.Header()
	h.Set("Tus-Resumable", tusVersion)
	h.Set("Tus-Version", tusVersion)
	h.Set("Tus-Extension", tusExtensions)
	h.Set("Tus-Checksum-Algorithm", tusAlgorithms)
	h.Set("Tus-Max-Size", strconv.FormatInt(s.largestFile(), 10))
	w.WriteHeader(http.StatusNoContent)
}

// createUpload begins an upload. A body is its first bytes.
func (s *Server) createUpload(w http.ResponseWriter, r *http.Request, who caller) error {
	if err := s.limiter.admit(r.Context(), w.Header(), s.limiter.general(who.ID, netip.Addr{}), s.limiter.uploads(who.ID)); err != nil {
		return err
	}
	if r.ContentLength != 0 && !isTusBody(r) {
		return errTusBody
	}
	size, err := strconv.ParseInt(r.Header.Get("Upload-Length"), 10, 64)
	if err != nil || size <= 0 {
		return invalid("Upload-Length", "is not a number of bytes above 0")
	}
	metadata := r.Header.Get("Upload-Metadata")
	u := store.Upload{UserID: who.ID, Size: size, Metadata: metadata}
	ctx, cancel := context.WithTimeout(r.Context(), jsonTimeout)
	defer cancel()
	described, declared, err := s.describedBy(u)
	if err == nil {
		err = s.foresee(described.asset.OriginalName, declared, size)
	}
	if err == nil {
		err = described.checkProject(ctx)
	}
	if err != nil { // now, and not once all bytes are there
		return err
	}
	if u, err = s.store.CreateUpload(ctx, who.ID, size, metadata); err != nil {
		return err
	}
	h := w.Header()
	h.Set("Location", uploadPath(u.ID))
	if r.ContentLength == 0 {
		h.Set("Upload-Expires", u.ExpiresAt.UTC().Format(http.TimeFormat))
		w.WriteHeader(http.StatusCreated)
		return nil
	}
	return s.receive(w, r, u, http.StatusCreated)
}

// foresee refuses a file of which the name and the declared type say already that it will be refused, or the size.
func (s *Server) foresee(name, declared string, size int64) error {
	var largest int64
	for _, f := range fileFormats {
		if f.contradicted(name) == "" && f.declaredAs(declared) {
			largest = max(largest, s.largest(f.kind))
		}
	}
	switch {
	case largest == 0:
		return invalidFileType("has a name and a type that are together none of an image (png, jpeg, gif, webp) or audio (mp3, wav, ogg, flac, m4a)")
	case size > largest:
		return fileTooLarge(largest)
	}
	return nil
}

func uploadPath(id uuid.UUID) string { return "/api/uploads/" + id.String() }

// patchUpload takes more of an upload's bytes.
func (s *Server) patchUpload(w http.ResponseWriter, r *http.Request, who caller) error {
	if !isTusBody(r) {
		return errTusBody
	}
	offset, err := strconv.ParseInt(r.Header.Get("Upload-Offset"), 10, 64)
	if err != nil || offset < 0 {
		return invalid("Upload-Offset", "is not a number of bytes")
	}
	u, err := s.findUpload(r.Context(), who, r.PathValue("id"))
	switch {
	case err != nil:
		return err
	case offset != u.Received:
		return errOffset
	case u.AssetID != nil:
		describeUpload(w.Header(), u)
		w.WriteHeader(http.StatusNoContent)
		return nil
	case u.Claimed:
		return errClaimed
	}
	return s.receive(w, r, u, http.StatusNoContent)
}

var errTusBody = newProblem(http.StatusUnsupportedMediaType, "UNSUPPORTED_MEDIA_TYPE", "Send the bytes as "+tusBody+".")

func isTusBody(r *http.Request) bool {
	kind, _, _ := mime.ParseMediaType(r.Header.Get("Content-Type")) // with an error it is none
	return kind == tusBody
}

var (
	errOffset  = newProblem(http.StatusConflict, "CONFLICT", "The upload is not at this offset: ask by HEAD where it is, and go on from there.")
	errClaimed = newProblem(http.StatusLocked, "CONFLICT", "Another request is completing this upload: ask by HEAD what became of it.")
)

// headUpload tells how far an upload is.
func (s *Server) headUpload(w http.ResponseWriter, r *http.Request, who caller) error {
	if err := s.limiter.admit(r.Context(), w.Header(), s.limiter.general(who.ID, netip.Addr{})); err != nil {
		return err
	}
	u, err := s.findUpload(r.Context(), who, r.PathValue("id"))
	if err != nil {
		return err
	}
	h := w.Header()
	describeUpload(h, u)
	h.Set("Upload-Length", strconv.FormatInt(u.Size, 10))
	if u.Metadata != "" {
		h.Set("Upload-Metadata", u.Metadata)
	}
	w.WriteHeader(http.StatusOK)
	return nil
}

// describeUpload says in headers how far an upload is.
func describeUpload(h http.Header, u store.Upload) {
	h.Set("Upload-Offset", strconv.FormatInt(u.Received, 10))
	h.Set("Upload-Expires", u.ExpiresAt.UTC().Format(http.TimeFormat))
	if u.AssetID != nil {
		h.Set("Location-Asset", assetPath(*u.AssetID))
	}
}

// overrideUpload is for clients whose network lets no PATCH or DELETE pass.
func (s *Server) overrideUpload(w http.ResponseWriter, r *http.Request, who caller) error {
	switch r.Header.Get("X-HTTP-Method-Override") {
	case http.MethodPatch:
		return s.patchUpload(w, r, who)
	case http.MethodDelete:
		return s.terminateUpload(w, r, who)
	}
	return invalid("X-HTTP-Method-Override", "is neither PATCH nor DELETE")
}

// terminateUpload ends an upload and deletes its bytes.
func (s *Server) terminateUpload(w http.ResponseWriter, r *http.Request, who caller) error {
	if err := s.limiter.admit(r.Context(), w.Header(), s.limiter.general(who.ID, netip.Addr{})); err != nil {
		return err
	}
	u, err := s.findUpload(r.Context(), who, r.PathValue("id"))
	if err == nil {
		err = s.endUpload(r.Context(), u)
	}
	if err != nil {
		return err
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}

type uploadRequest struct {
	ID string `path:"id"`
}

// uploadBody is an upload as the API shows it.
type uploadBody struct {
	ID        uuid.UUID  `json:"id"`
	Status    string     `json:"status" enum:"UPLOADING,PROCESSING,COMPLETED"`
	Offset    int64      `json:"offset" doc:"Bytes that are there."`
	Size      int64      `json:"size" doc:"Bytes, in the end."`
	AssetID   *uuid.UUID `json:"assetId" doc:"The asset that it has become; null before."`
	ExpiresAt time.Time  `json:"expiresAt"`
}

// getUpload tells how far an upload is, and which asset it became.
func (s *Server) getUpload(ctx context.Context, who caller, in *uploadRequest) (*data[uploadBody], error) {
	u, err := s.findUpload(ctx, who, in.ID)
	status := "UPLOADING"
	switch {
	case u.AssetID != nil:
		status = "COMPLETED"
	case u.Claimed:
		status = "PROCESSING"
	}
	return dataOf(uploadBody{u.ID, status, u.Received, u.Size, u.AssetID, u.ExpiresAt.UTC()}), err
}

func (s *Server) findUpload(ctx context.Context, who caller, text string) (store.Upload, error) {
	id, err := parseID(text)
	if err != nil {
		return store.Upload{}, err
	}
	ctx, cancel := context.WithTimeout(ctx, jsonTimeout)
	defer cancel()
	return s.store.Upload(ctx, who.ID, id)
}

// parseTusMetadata reads the header Upload-Metadata: keys, each with a text in base64.
func parseTusMetadata(header string) (map[string]string, error) {
	if len(header) > maxTusMetadata {
		return nil, invalid("Upload-Metadata", fmt.Sprintf("is longer than %d bytes", maxTusMetadata))
	}
	if strings.ContainsFunc(header, func(r rune) bool { return r < ' ' || r > '~' }) {
		return nil, invalid("Upload-Metadata", "holds what is not ASCII: texts are written in base64")
	}
	found := map[string]string{}
	for pair := range strings.SplitSeq(header, ",") {
		key, value, _ := strings.Cut(strings.TrimSpace(pair), " ")
		if key == "" {
			continue
		}
		if _, twice := found[key]; twice {
			return nil, invalid("Upload-Metadata", "has the key "+key+" more than once")
		}
		text, err := base64.StdEncoding.DecodeString(strings.TrimSpace(value))
		if err != nil {
			return nil, invalid("Upload-Metadata", "is malformed: write key and base64 with a space between them, and a comma between two such pairs")
		}
		found[key] = string(text)
	}
	return found, nil
}

// describedBy is the upload of a file that an upload's metadata describe, with the name and type that the client gives it. Uppy and
// tus-js-client say name and type, the latter's documentation filename and filetype; what else is there has no meaning here.
func (s *Server) describedBy(up store.Upload) (u *upload, declared string, err error) {
	metadata, err := parseTusMetadata(up.Metadata)
	if err != nil {
		return nil, "", err
	}
	first := func(keys ...string) string {
		for _, key := range keys {
			if text := metadata[key]; text != "" {
				return text
			}
		}
		return ""
	}
	u = &upload{server: s, userID: up.UserID}
	u.asset.UserID = up.UserID
	u.asset.OriginalName, err = checkFileName("filename", first("filename", "name"))
	err = allOf(err, u.addTags(metadata["tags"]), u.setCategory(metadata["category"]))
	if id := metadata["projectId"]; err == nil && id != "" {
		err = u.setProject(id)
	}
	return u, first("filetype", "type"), err
}

// checksum is what a request says that its bytes sum up to.
type checksum struct {
	hash.Hash
	want []byte
}

var checksums = map[string]func() hash.Hash{"sha256": sha256.New, "sha1": sha1.New, "md5": md5.New}

// checksumOf reads the header Upload-Checksum; nil if there is none.
func checksumOf(header string) (*checksum, error) {
	if header == "" {
		return nil, nil //nolint:nilnil // the caller asks
	}
	algorithm, text, _ := strings.Cut(header, " ")
	newHash, ok := checksums[algorithm]
	want, err := base64.StdEncoding.DecodeString(strings.TrimSpace(text))
	if !ok || err != nil {
		return nil, invalid("Upload-Checksum", "is none of "+tusAlgorithms+", with a sum in base64")
	}
	return &checksum{newHash(), want}, nil
}

// statusChecksumMismatch is the protocol's own.
const statusChecksumMismatch = 460

var errChecksum = newProblem(statusChecksumMismatch, "CHECKSUM_MISMATCH", "The bytes are not those of Upload-Checksum, and were dropped: send them again.")

// isRefusal tells whether an error means that an upload's bytes can never become an asset.
func isRefusal(err error) bool {
	var p *problem
	return errors.As(err, &p) && (p.status == http.StatusBadRequest || p.status == http.StatusRequestEntityTooLarge)
}

// What requests and answers of the protocol have in their headers.
var (
	tusRequest = map[string]string{
		"Upload-Length": "Bytes.", "Upload-Metadata": "Keys and base64: filename, filetype, tags, category, projectId.", "Upload-Offset": "Bytes that are there.",
		"Upload-Checksum": "One of " + tusAlgorithms + ", and base64, of this body.", "X-HTTP-Method-Override": "PATCH or DELETE.",
	}
	tusAnswer = map[string]string{
		"Location": "The upload's address.", "Upload-Offset": "Bytes that are there.", "Upload-Length": "Bytes, in the end.", "Upload-Metadata": "As it was sent.",
		"Upload-Expires": "When it is forgotten unless more comes.", "Location-Asset": "The asset that it has become, once it is complete.",
	}
)

// tusDocs describes a route of the protocol.
func tusDocs(status int) func(*huma.Operation, huma.Registry) {
	return func(op *huma.Operation, schemas huma.Registry) {
		text := &huma.Schema{Type: huma.TypeString}
		op.Description = "See tus.io/protocols/resumable-upload. Extensions: " + tusExtensions + "."
		op.Parameters = append(op.Parameters, &huma.Param{Name: "Tus-Resumable", In: "header", Required: true, Schema: text, Description: tusVersion})
		var required, optional, answered []string
		takes := true // bytes
		switch {
		case status == http.StatusCreated:
			required, optional = []string{"Upload-Length", "Upload-Metadata"}, []string{"Upload-Checksum"}
			answered = []string{"Location", "Upload-Offset", "Upload-Expires", "Location-Asset"}
		case op.Method == http.MethodHead:
			takes, answered = false, []string{"Upload-Offset", "Upload-Length", "Upload-Metadata", "Upload-Expires", "Location-Asset"}
		case op.Method == http.MethodDelete:
			takes = false
		case op.Method == http.MethodPatch:
			required, optional, answered = []string{"Upload-Offset"}, []string{"Upload-Checksum"}, []string{"Upload-Offset", "Upload-Expires", "Location-Asset"}
			op.Metadata = uncounted
		default:
			required, optional = []string{"X-HTTP-Method-Override"}, []string{"Upload-Offset", "Upload-Checksum"}
			answered = []string{"Upload-Offset", "Upload-Expires", "Location-Asset"}
		}
		for _, name := range slices.Concat(required, optional) {
			op.Parameters = append(op.Parameters, &huma.Param{Name: name, In: "header", Required: slices.Contains(required, name), Schema: text, Description: tusRequest[name]})
		}
		answer := &huma.Response{Description: http.StatusText(status), Headers: map[string]*huma.Param{}}
		for _, name := range answered {
			answer.Headers[name] = &huma.Param{Schema: text, Description: tusAnswer[name]}
		}
		op.Responses = map[string]*huma.Response{strconv.Itoa(status): answer}
		if takes {
			op.RequestBody = &huma.RequestBody{Required: op.Method == http.MethodPatch, Content: map[string]*huma.MediaType{
				tusBody: {Schema: &huma.Schema{Type: huma.TypeString, Format: "binary"}},
			}}
			documentProblem(op, schemas, http.StatusLocked, "Another request is completing the upload")
			documentProblem(op, schemas, statusChecksumMismatch, "The bytes are not those of Upload-Checksum")
		}
	}
}
