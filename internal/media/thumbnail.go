package media

import (
	"bytes"
	"image"
	"image/color"
	"image/jpeg"
	"image/png"
)

// Thumbnail is a picture made small.
type Thumbnail struct {
	Size          int // of the square that it fits into: 150, 300 or 600 pixels
	Width, Height int // pixels
	MIMEType      string
	Bytes         []byte // the file, in sRGB, without metadata
}

const (
	// Of the sizes of thumbnails.
	largest, smallest = 600, 150
	// A photograph is hardly seen to be compressed at this quality.
	jpegQuality = 80
	// One that is shown as small as it is has often been drawn pixel by pixel, and costs little.
	jpegQualitySmall = 95
)

var sizes = [...]int{largest, 300, smallest}

// makeThumbnails makes a thumbnail of each size, smallest first: PNG where there is
// alpha, else JPEG. A picture is never made larger; where it is smaller than some sizes,
// the first that it fits into is the last one made, as it would be equal to those
// beyond. So a size that is not there is answered with the largest that is.
func makeThumbnails(in *source, pic *picture, toSRGB *transform) ([]Thumbnail, error) {
	shown := pic.raster
	var thumbnails []Thumbnail
	for i, size := range sizes {
		if i+1 < len(sizes) && max(shown.width, shown.height) <= sizes[i+1] {
			continue // the next one is the same
		}
		if max(shown.width, shown.height) > size {
			width, height := fit(pic.spanX, pic.spanY, size)
			if thumbnails != nil && pic.orientation.swaps() {
				width, height = height, width
			}
			smaller, err := shown.resize(in, width, height)
			if err != nil {
				return nil, err
			}
			shown = smaller
		}
		if thumbnails == nil {
			// Once, of as few pixels as can be. The others are made of this one.
			shown = pic.orientation.apply(shown)
			toSRGB.apply(shown.pix)
		}
		quality := jpegQuality
		if max(pic.width, pic.height) <= size && size == smallest {
			quality = jpegQualitySmall
		}
		thumbnail, err := shown.encode(size, quality)
		if err != nil {
			return nil, err
		}
		thumbnails = append([]Thumbnail{thumbnail}, thumbnails...)
	}
	return thumbnails, nil
}

// fit is the size of a picture in a square, at least one pixel each way.
func fit(width, height float64, size int) (int, int) {
	scale := float64(size) / max(width, height)
	return max(1, int(width*scale+0.5)), max(1, int(height*scale+0.5))
}

func (r *raster) encode(size, quality int) (Thumbnail, error) {
	made := Thumbnail{Size: size, Width: r.width, Height: r.height, MIMEType: "image/jpeg"}
	var out bytes.Buffer
	var err error
	bounds := image.Rect(0, 0, r.width, r.height)
	if r.alpha {
		made.MIMEType = "image/png"
		var picture image.Image = &image.NRGBA{Pix: r.pix, Stride: 4 * r.width, Rect: bounds}
		if indexed := r.indexed(); indexed != nil {
			picture = indexed
		}
		err = png.Encode(&out, picture)
	} else {
		err = jpeg.Encode(&out, &image.RGBA{Pix: r.pix, Stride: 4 * r.width, Rect: bounds}, &jpeg.Options{Quality: quality})
	}
	made.Bytes = out.Bytes()
	return made, err
}

// indexed is the picture with a palette, which makes a smaller file and is no less exact,
// or nil if it has more than 256 colours.
func (r *raster) indexed() *image.Paletted {
	index := make(map[[4]byte]uint8)
	made := image.NewPaletted(image.Rect(0, 0, r.width, r.height), nil)
	for i := range made.Pix {
		pixel := [4]byte(r.pix[4*i:])
		if pixel[3] == 0 {
			pixel = [4]byte{}
		}
		at, ok := index[pixel]
		if !ok {
			if len(index) == 256 {
				return nil
			}
			at = uint8(len(index))
			index[pixel] = at
			made.Palette = append(made.Palette, color.NRGBA{pixel[0], pixel[1], pixel[2], pixel[3]})
		}
		made.Pix[i] = at
	}
	return made
}
