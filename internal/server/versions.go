package server

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"net/http"
	"net/netip"
	"path"
	"strconv"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/assetplatform/assetplatform/internal/store"
)

// versionBody is a version of an asset as the API shows it.
type versionBody struct {
	Version     int32           `json:"version"`
	SHA256      string          `json:"sha256" doc:"Hexadecimal."`
	FileSize    int64           `json:"fileSize" doc:"Bytes."`
	MIMEType    string          `json:"mimeType"`
	Metadata    json.RawMessage `json:"metadata"`
	CreatedAt   time.Time       `json:"createdAt"`
	DownloadURL string          `json:"downloadUrl"`
}

func versionBodyOf(asset uuid.UUID, v store.AssetVersion) versionBody {
	return versionBody{
		v.Version, hex.EncodeToString(v.SHA256[:]), v.FileSize, v.MIMEType, v.Metadata, v.CreatedAt,
		assetPath(asset) + "/versions/" + strconv.Itoa(int(v.Version)) + "/download",
	}
}

type assetIDRequest struct {
	ID string `path:"id"`
}

// listVersions lists all versions of an asset, the present one first.
func (s *Server) listVersions(ctx context.Context, who caller, in *assetIDRequest) (*data[[]versionBody], error) {
	id, err := parseID(in.ID)
	if err != nil {
		return nil, err
	}
	versions, err := s.store.AssetVersions(ctx, who.ID, id)
	return dataOf(bodiesOf(versions, func(v store.AssetVersion) versionBody { return versionBodyOf(id, v) })), err
}

// addVersion stores a file as the next version of an asset, and answers with the asset: 200 if it has these bytes already.
func (s *Server) addVersion(w http.ResponseWriter, r *http.Request, who caller) error {
	if err := s.limiter.admit(r.Context(), w.Header(), s.limiter.general(who.ID, netip.Addr{}), s.limiter.uploads(who.ID)); err != nil {
		return err
	}
	id, err := parseID(r.PathValue("id"))
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(r.Context(), jsonTimeout)
	defer cancel()
	asset, err := s.store.Asset(ctx, who.ID, id)
	switch {
	case err != nil:
		return err
	case asset.Access == store.AccessViewer:
		return store.ErrForbidden
	}
	u := &upload{server: s, userID: asset.UserID, versionOf: &asset, by: who.ID, match: versionsOf(r.Header.Get("If-Match"))}
	if u.asset.Idempotency.Key, err = idempotencyKey(r); err != nil {
		return err
	}
	return u.serve(w, r)
}

func (u *upload) commitVersion(ctx context.Context) (done committed, err error) {
	n := store.NewVersion{
		AssetID: u.versionOf.ID, OwnerID: u.userID, ObjectKey: u.asset.ObjectKey, SHA256: u.asset.SHA256, FileSize: u.asset.FileSize,
		FileType: u.asset.FileType, MIMEType: u.asset.MIMEType, OriginalName: u.asset.OriginalName,
		Idempotency: u.asset.Idempotency, Answer: keptAnswerOf,
	}
	n.Idempotency.Fingerprint = fingerprint(u.asset, n.AssetID)
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), commitTimeout)
	defer cancel()
	done.asset, done.duplicate, done.answered, err = u.server.store.CommitVersion(ctx, u.by, n, u.match...)
	done.status = http.StatusCreated
	if done.answered == nil && done.asset.Version == u.versionOf.Version {
		done.status = http.StatusOK
	}
	return done, err
}

// downloadVersion streams the bytes of a version.
func (s *Server) downloadVersion(w http.ResponseWriter, r *http.Request, who caller) error {
	number, err := strconv.ParseInt(r.PathValue("version"), 10, 32)
	if err != nil {
		return store.ErrNotFound
	}
	return s.serveDownload(w, r, func(ctx context.Context, id uuid.UUID) (store.Asset, error) {
		asset, err := s.store.AssetVersion(ctx, who.ID, id, int32(number))
		for _, f := range fileFormats { // the name is the present version's, whose type may be another
			if f.mimeType == asset.MIMEType && f.contradicted(asset.OriginalName) != "" {
				asset.OriginalName = strings.TrimSuffix(asset.OriginalName, path.Ext(asset.OriginalName)) + f.extensions[0]
			}
		}
		return asset, err
	})
}
