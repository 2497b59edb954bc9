package server

import (
	"bytes"
	"encoding/binary"
	"mime"
	"net/http"
	"path"
	"regexp"
	"slices"
	"strings"

	"github.com/assetplatform/assetplatform/internal/media"
	"github.com/assetplatform/assetplatform/internal/store"
)

// sniffLength is how many of a file's first bytes decide its type.
const sniffLength = 64

// fileFormat is a type of file that may be uploaded.
type fileFormat struct {
	name       string
	kind       store.FileType
	mimeType   string   // what a download says
	extensions []string // first the usual one
	declared   []string // further names that clients give the type
	matches    func(head []byte) bool
	walk       walk // tells whether the file is whole
}

// fileFormats is the closed list. All of them are safe to show in a browser: none can
// hold a script that it would run.
var fileFormats = []fileFormat{
	{"PNG", store.Image, "image/png", []string{".png", ".apng"}, []string{"image/x-png", "image/apng", "image/vnd.mozilla.apng"}, prefix("\x89PNG\r\n\x1a\n"), walkPNG},
	{"JPEG", store.Image, "image/jpeg", []string{".jpg", ".jpeg", ".jpe", ".jfif"}, []string{"image/jpg", "image/pjpeg"}, prefix("\xff\xd8\xff"), walkJPEG},
	{"GIF", store.Image, "image/gif", []string{".gif"}, nil, func(h []byte) bool {
		return bytes.HasPrefix(h, []byte("GIF87a")) || bytes.HasPrefix(h, []byte("GIF89a"))
	}, walkGIF},
	{"WebP", store.Image, "image/webp", []string{".webp"}, nil, riff("WEBP"), walkWebP},
	{"WAV", store.Audio, "audio/wav", []string{".wav", ".wave"}, []string{"audio/x-wav", "audio/wave", "audio/vnd.wave"}, riff("WAVE"), walkWAV},
	{"Ogg", store.Audio, "audio/ogg", []string{".ogg", ".oga", ".opus"}, []string{"application/ogg", "audio/x-ogg", "application/x-ogg", "video/ogg", "audio/vorbis", "audio/opus"}, prefix("OggS\x00"), walkOgg},
	{"FLAC", store.Audio, "audio/flac", []string{".flac"}, []string{"audio/x-flac"}, prefix("fLaC"), walkFLAC},
	{"M4A", store.Audio, "audio/mp4", []string{".m4a", ".mp4"}, []string{"audio/m4a", "audio/x-m4a", "audio/aac", "audio/mp4a-latm", "video/mp4"}, isM4A, walkM4A},
	{"MP3", store.Audio, "audio/mpeg", []string{".mp3"}, []string{"audio/mp3", "audio/x-mp3", "audio/x-mpeg", "audio/mpeg3"}, isMP3, walkMP3},
}

func prefix(magic string) func([]byte) bool {
	return func(h []byte) bool { return bytes.HasPrefix(h, []byte(magic)) }
}

func riff(form string) func([]byte) bool {
	return func(h []byte) bool { return len(h) >= 12 && string(h[:4]) == "RIFF" && string(h[8:12]) == form }
}

// isM4A accepts an ISO media file that has a brand of audio, or is of a general one
// (ISO/IEC 14496-12, 4.3): many programs write no other. Whether it holds sound alone,
// walkM4A tells.
func isM4A(h []byte) bool {
	if len(h) < 16 || string(h[4:8]) != "ftyp" {
		return false
	}
	switch string(h[8:12]) {
	case "isom", "iso2", "iso4", "iso5", "iso6", "mp41", "mp42", "dash":
		return true
	}
	end := min(len(h), int(binary.BigEndian.Uint32(h)))
	for at := 8; at+4 <= end; at += 4 {
		switch string(h[at : at+4]) {
		case "M4A ", "M4B ":
			return true
		}
	}
	return false
}

// isMP3 accepts an ID3v2 tag or the header of an MPEG audio layer III frame.
func isMP3(h []byte) bool { return bytes.HasPrefix(h, []byte("ID3")) || media.MP3FrameLength(h) > 0 }

// typeExtension is what the end of a name must look like to say something about the
// type: that of "hero v1.2" does not.
var typeExtension = regexp.MustCompile(`^\.[a-z][a-z0-9]{1,4}$`)

// contradicted returns the extension of a name if it is another format's, else nothing. A name without one says nothing.
func (f fileFormat) contradicted(name string) string {
	extension := strings.ToLower(path.Ext(name))
	if !typeExtension.MatchString(extension) || slices.Contains(f.extensions, extension) {
		return ""
	}
	return extension
}

// declaredAs tells whether a Content-Type that a client gives a file may be the format's. None, or a general one, says nothing.
func (f fileFormat) declaredAs(contentType string) bool {
	mediaType, _, _ := mime.ParseMediaType(contentType)
	switch mediaType {
	case "application/octet-stream", "binary/octet-stream", f.mimeType:
		return true
	}
	return contentType == "" || slices.Contains(f.declared, mediaType)
}

// formatOf decides a file's type from its first bytes, and refuses one whose name or
// declared type says something else. A name without an extension, and no declared type
// or a general one, say nothing.
func formatOf(head []byte, name, declared string) (fileFormat, error) {
	extension := strings.ToLower(path.Ext(name))
	i := slices.IndexFunc(fileFormats, func(f fileFormat) bool { return f.matches(head) })
	if extension == ".flac" && bytes.HasPrefix(head, []byte("ID3")) { // some programs put MP3's tag before FLAC
		i = slices.IndexFunc(fileFormats, func(f fileFormat) bool { return f.name == "FLAC" })
	}
	if i < 0 {
		return fileFormat{}, invalidFileType("is neither an image (png, jpeg, gif, webp) nor audio (mp3, wav, ogg, flac, m4a)")
	}
	format := fileFormats[i]
	if format.contradicted(name) != "" {
		return fileFormat{}, invalidFileType("is a " + format.name + " file, which its name's extension " + extension + " contradicts: rename it to " + format.extensions[0])
	}
	if !format.declaredAs(declared) {
		return fileFormat{}, invalidFileType("is a " + format.name + " file, which its Content-Type contradicts: send " + format.mimeType)
	}
	return format, nil
}

func invalidFileType(message string) error {
	p := newProblem(http.StatusBadRequest, "INVALID_FILE_TYPE", "Send an image or an audio file of one of the accepted types.")
	p.details = []detail{{"file", message}}
	return p
}
