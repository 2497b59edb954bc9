package objectstore

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"io"
	"slices"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
	"github.com/aws/smithy-go/middleware"
)

const (
	// PartSize is the least that S3 takes as a part of a multipart upload (bytes), and
	// what one upload costs in memory whatever its size.
	PartSize = 5 << 20
	// uploadSlots bounds the uploads that hold a buffer at one time, and so their memory: 80 MiB.
	uploadSlots = 16
	// slotWait is how long an upload waits for a buffer; meanwhile its client is not read from.
	slotWait = time.Minute
)

// Put stores what body holds under key, replacing what was there. It reads one part at a
// time, so that a body of any size costs the memory of one part, and a slow service
// slows the client down. An error of body is returned as it is; ErrBusy, ErrUnavailable.
//
// This is not the SDK's upload manager: that one grows its first part by appending,
// keeps two more, shares no bound between uploads, and aborts under the context whose
// end made it fail.
func (b *Bucket) Put(ctx context.Context, key string, body io.Reader) (err error) {
	defer b.timed("put", time.Now(), &err)
	if !b.Claimed() {
		return b.notOurs()
	}
	buffer, err := b.buffers.take(ctx)
	if err != nil {
		return err
	}
	defer b.buffers.give(buffer)

	n, ended, err := fill(body, *buffer)
	if err != nil {
		return err
	}
	if !ended {
		return b.putParts(ctx, key, *buffer, body)
	}
	call, cancel := context.WithTimeout(ctx, partCall)
	defer cancel()
	in := &s3.PutObjectInput{Bucket: &b.name, Key: b.key(key), Body: bytes.NewReader((*buffer)[:n])}
	var options []func(*s3.Options)
	if known, ok := body.(Hashed); ok { // what the SDK would work out once more
		in.ChecksumCRC32, options = crcText(known.CRC32()), append(options, signWith(known.SHA256()))
	}
	_, err = b.client.PutObject(call, in, options...)
	if err != nil {
		return fmt.Errorf("put %s: %w", key, b.translate(err))
	}
	return nil
}

// Hashed is a body that knows the sums of what was read from it.
type Hashed interface {
	io.Reader
	SHA256() [32]byte
	CRC32() uint32 // IEEE
}

// crcText is how S3 writes a CRC32.
func crcText(crc uint32) *string {
	return aws.String(base64.StdEncoding.EncodeToString(binary.BigEndian.AppendUint32(nil, crc)))
}

// signWith has a body of this hash signed, which the SDK needs where there is no TLS.
func signWith(sum [32]byte) func(*s3.Options) {
	return func(o *s3.Options) {
		set := func(ctx context.Context, in middleware.InitializeInput, next middleware.InitializeHandler) (middleware.InitializeOutput, middleware.Metadata, error) {
			return next.HandleInitialize(v4.SetPayloadHash(ctx, hex.EncodeToString(sum[:])), in)
		}
		o.APIOptions = append(slices.Clone(o.APIOptions), func(stack *middleware.Stack) error {
			return stack.Initialize.Add(middleware.InitializeMiddlewareFunc("KnownPayloadHash", set), middleware.Before)
		})
	}
}

// putParts stores a body that is longer than one part. buffer holds the first one.
func (b *Bucket) putParts(ctx context.Context, key string, buffer []byte, body io.Reader) error {
	return b.multipart(ctx, key, nil, func(uploadID string) (parts []types.CompletedPart, err error) {
		for n, ended := len(buffer), false; n > 0; {
			part, err := b.putPart(ctx, key, uploadID, int32(len(parts)+1), buffer[:n])
			if err != nil {
				return nil, err
			}
			parts = append(parts, part)
			if ended {
				break
			}
			if n, ended, err = fill(body, buffer); err != nil {
				return nil, err
			}
		}
		return parts, nil
	})
}

// fill reads until buffer is full or r has ended. Unlike io.ReadFull it passes every
// error of r on as it is: io.ErrUnexpectedEOF is how a truncated request reports itself.
func fill(r io.Reader, buffer []byte) (n int, ended bool, err error) {
	for n < len(buffer) {
		m, err := r.Read(buffer[n:])
		n += m
		if err == io.EOF {
			return n, true, nil
		}
		if err != nil {
			return n, false, err
		}
	}
	return n, false, nil
}

// buffers hands out the part buffers of all uploads. Idle ones are left to the garbage collector.
type buffers struct {
	slots chan struct{}
	idle  sync.Pool
}

func newBuffers() *buffers {
	return &buffers{
		slots: make(chan struct{}, uploadSlots),
		idle:  sync.Pool{New: func() any { b := make([]byte, PartSize); return &b }},
	}
}

func (b *buffers) take(ctx context.Context) (*[]byte, error) {
	if err := acquire(ctx, b.slots); err != nil {
		return nil, err
	}
	return b.idle.Get().(*[]byte), nil
}

func (b *buffers) give(buffer *[]byte) {
	b.idle.Put(buffer)
	<-b.slots
}
