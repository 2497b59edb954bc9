package server

import (
	"bytes"
	"errors"
	"fmt"
	"iter"
	"net/http"

	"github.com/assetplatform/assetplatform/internal/media"
	"github.com/assetplatform/assetplatform/internal/store"
)

// A walk follows the structure of a file from its first byte on. It returns nil where
// the format says that the file ends, or one of the errors below. It holds no more of
// the file than a header.
type walk func(*pieces) error

var (
	errCutOff = errors.New("the file ends before its structure does")
	errAlien  = errors.New("the file begins like one of its format, and goes on as none")
	errBehind = errors.New("something else follows the end of the file's structure")
)

// damaged is what a walk returns where the structure is broken.
func damaged(format string, values ...any) error {
	return unusable("The file is damaged: save or export it anew, and send that.", fmt.Sprintf(format, values...))
}

func unusable(message, finding string) error {
	p := newProblem(http.StatusBadRequest, "VALIDATION_ERROR", message)
	p.details = []detail{{"file", finding}}
	return p
}

// checkPixels judges the size of a picture: a small file may claim one that fills the memory of whatever decodes it.
func checkPixels(width, height uint32) error {
	if width == 0 || height == 0 {
		return damaged("has %d × %d pixels", width, height)
	}
	if uint64(width)*uint64(height) > media.MaxPixels {
		return unusable(fmt.Sprintf("Send a picture of at most %d pixels.", media.MaxPixels), fmt.Sprintf("has %d × %d pixels: scale it down", width, height))
	}
	return nil
}

// inspection is the walk over a file that passes by. The walk reads as it likes and is
// paused wherever the file has not come further: a coroutine, so that each format's walk
// reads like its specification and none keeps its state by hand.
type inspection struct {
	pieces pieces
	resume func() (struct{}, bool)
	stop   func() // must be called at the end
	err    error
}

func inspect(format fileFormat) *inspection {
	i := &inspection{}
	i.resume, i.stop = iter.Pull(func(yield func(struct{}) bool) {
		i.pieces.wait = func() bool { return yield(struct{}{}) }
		i.err = format.judge(format.walk(&i.pieces), &i.pieces)
	})
	return i
}

// feed hands on the next piece of the file; an empty one is its end. An error says what
// is wrong with the file, as a *problem; a whole file has none at its end.
func (i *inspection) feed(piece []byte) error {
	i.pieces.piece, i.pieces.ended = piece, len(piece) == 0
	i.resume()
	return i.err
}

// judge says in words what a walk found.
func (f fileFormat) judge(err error, in *pieces) error {
	content := "picture"
	if f.kind == store.Audio {
		content = "sound"
	}
	if err == nil && in.padding() {
		err = errBehind
	}
	switch {
	case errors.Is(err, errCutOff):
		return unusable(fmt.Sprintf("The file ends before its %s does: %d bytes are there. Send it again, whole.", content, in.offset), "is cut off")
	case errors.Is(err, errAlien):
		return invalidFileType("begins like " + f.name + ", but is none")
	case errors.Is(err, errBehind):
		return invalidFileType("holds something else behind the end of its " + content + ": save it anew, as plain " + f.name)
	}
	return err
}

// pieces is what a walk reads: a file that comes piece by piece.
type pieces struct {
	piece  []byte      // has come, and was not passed yet
	offset int64       // bytes passed
	ended  bool        // no more comes
	wait   func() bool // for the next piece; false: nobody is interested any more
	header [255]byte
	short  []byte // what next found where fewer bytes were left
}

// more tells whether there is another byte, and waits for it.
func (in *pieces) more() bool {
	for len(in.piece) == 0 && !in.ended {
		in.ended = !in.wait() || in.ended
	}
	return len(in.piece) > 0
}

func (in *pieces) pass(n int) {
	in.piece = in.piece[n:]
	in.offset += int64(n)
}

// next returns the next n bytes, at most as many as header has. They hold until the next call.
func (in *pieces) next(n int) ([]byte, error) {
	if len(in.piece) >= n {
		whole := in.piece[:n]
		in.pass(n)
		return whole, nil
	}
	for have := 0; have < n; {
		if !in.more() {
			in.short = in.header[:have]
			return nil, errCutOff
		}
		part := copy(in.header[have:n], in.piece)
		in.pass(part)
		have += part
	}
	return in.header[:n], nil
}

// one returns the next byte.
func (in *pieces) one() (byte, error) {
	b, err := in.next(1)
	if err != nil {
		return 0, err
	}
	return b[0], nil
}

// each shows the next n bytes as they come.
func (in *pieces) each(n int64, show func([]byte)) error {
	for n > 0 {
		if !in.more() {
			return errCutOff
		}
		part := in.piece[:min(n, int64(len(in.piece)))]
		show(part)
		in.pass(len(part))
		n -= int64(len(part))
	}
	return nil
}

func (in *pieces) skip(n int64) error { return in.each(n, func([]byte) {}) }

// rest shows all bytes up to the end of the file.
func (in *pieces) rest(show func([]byte)) {
	for in.more() {
		show(in.piece)
		in.pass(len(in.piece))
	}
}

// seek passes all bytes up to and with the next b.
func (in *pieces) seek(b byte) error {
	for in.more() {
		if at := bytes.IndexByte(in.piece, b); at >= 0 {
			in.pass(at + 1)
			return nil
		}
		in.pass(len(in.piece))
	}
	return errCutOff
}

// padding passes zero bytes, which many programs leave behind a file's end, and tells
// whether anything else follows.
func (in *pieces) padding() bool {
	for in.more() {
		left := bytes.TrimLeft(in.piece, "\x00")
		in.pass(len(in.piece) - len(left))
		if len(left) > 0 {
			return true
		}
	}
	return false
}
