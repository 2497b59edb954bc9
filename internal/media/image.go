package media

import (
	"context"
	"errors"
	"fmt"
	"io"
)

// ImageInfo is what is told about a picture.
type ImageInfo struct {
	Width, Height int    // pixels as it is shown, that is with EXIF's orientation applied
	Format        string // "png", "jpeg", "gif", "webp"
	// HasAlpha: some pixel of the picture that is shown is not wholly opaque. A channel
	// that is opaque everywhere does not count: nothing is seen of it. Where the picture
	// was not decoded, it is what the headers say, so it may be true without such a pixel.
	HasAlpha bool
	Frames   int      // of an animation; 1 for all else
	Palette  []string // at most 8 as "#rrggbb" in sRGB, most frequent first; nil where the picture was not decoded
}

const (
	// MaxPixels is how many a picture may have.
	MaxPixels = 100_000_000
	// maxSide bounds a row, of which some are held, and the sums of canvas.
	maxSide = 200_000
	// maxProfile is how large a colour profile may be, bytes uncompressed; larger ones are
	// not looked at. Those that are understood have some kilobytes.
	maxProfile = 1 << 20
)

// pictures are the readers by MIME type: those that uploads are given.
var pictures = map[string]func(*source, *picture) error{
	"image/png":  readPNG,
	"image/jpeg": readJPEG,
	"image/gif":  readGIF,
	"image/webp": readWebP,
}

// picture is what a reader gives: the facts, as soon as they are known, and the first frame.
type picture struct {
	ImageInfo   // Width and Height as stored
	raster      // the first frame, shrunk where it is large
	orientation orientation
	profile     profile
}

// ReadImage decodes the picture in file, which has size bytes and the type that mimeType
// names, tells about it and makes its thumbnails. It takes at most 96 MiB of memory,
// or 100 of a lossless WebP of 4096 × 4096 pixels in 16 colours.
// Errors: ErrUnsupported, ErrTooLarge and, where the pixels cannot be decoded, ErrDamaged,
// with which what the file's headers say is returned, without palette and thumbnails;
// ErrDamaged alone of a file that contradicts itself; the error of ctx, and those of file.
func ReadImage(ctx context.Context, file io.ReaderAt, size int64, mimeType string) (info ImageInfo, thumbnails []Thumbnail, err error) {
	read, ok := pictures[mimeType]
	if !ok {
		return ImageInfo{}, nil, fmt.Errorf("%w: %s", ErrUnsupported, mimeType)
	}
	in := newSource(ctx, file, size)
	pic := &picture{orientation: 1}
	defer func() {
		// Decoders, ours too, index by what the file says: a panic of theirs is its fault.
		// They run in this goroutine and hold nothing beyond it.
		if p := recover(); p != nil {
			err = fmt.Errorf("%w: its decoder panicked: %v", errUndecoded, p)
		}
		if err == nil {
			return
		}
		info, thumbnails, err = ImageInfo{}, nil, in.verdict(err)
		if factsRemain(err) && pic.Width > 0 && (!errors.Is(err, errUndecoded) || pic.checkSize() == nil) {
			info = pic.facts()
		}
	}()
	if err := read(in, pic); err != nil {
		return info, nil, err
	}
	pic.HasAlpha = pic.alpha
	info = pic.facts()
	toSRGB := pic.profile.transform()
	info.Palette = palette(&pic.raster, toSRGB)
	thumbnails, err = makeThumbnails(in, pic, toSRGB)
	return info, thumbnails, err
}

// facts are those of the picture as it is shown.
func (p *picture) facts() ImageInfo {
	info := p.ImageInfo
	if p.orientation.swaps() {
		info.Width, info.Height = info.Height, info.Width
	}
	return info
}

// checkSize refuses what no picture has, and what is too large to be decoded.
func (i *ImageInfo) checkSize() error {
	switch {
	case i.Width < 1 || i.Height < 1:
		return fmt.Errorf("%w: %d × %d pixels", ErrDamaged, i.Width, i.Height)
	case int64(i.Width)*int64(i.Height) > MaxPixels:
		return fmt.Errorf("%w: %d × %d pixels", ErrTooLarge, i.Width, i.Height)
	case i.Width > maxSide || i.Height > maxSide:
		return fmt.Errorf("%w: a side of %d pixels", ErrTooLarge, max(i.Width, i.Height))
	}
	return nil
}

// alive is the error of ctx, if it has ended.
func (s *source) alive() error {
	s.failed = s.ctx.Err()
	return s.failed
}
