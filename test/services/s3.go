package services

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"

	"github.com/assetplatform/assetplatform/internal/config"
	"github.com/assetplatform/assetplatform/test/checkout"
)

// The keys that every S3 server of the tests accepts. Those of the guest open nothing
// but what a bucket's policy grants.
const (
	AccessKey      = "tests"
	SecretKey      = "secret of the tests"
	GuestAccessKey = "guest"
	GuestSecretKey = "secret of the guest"
)

// S3 is a versitygw server.
type S3 struct {
	Server
	dir    string
	client *s3.Client
}

var buckets atomic.Int64

// SharedS3 is the server that all tests of this binary use.
func SharedS3(t testing.TB) *S3 {
	t.Helper()
	shared.mu.Lock()
	defer shared.mu.Unlock()
	if shared.s3 == nil {
		server, err := startS3()
		if err != nil {
			t.Fatal(err)
		}
		shared.s3 = server
		shared.ends = append(shared.ends, server.remove)
	}
	return shared.s3
}

// NewS3 starts a server for one test.
func NewS3(t testing.TB) *S3 {
	t.Helper()
	server, err := startS3()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(server.remove)
	return server
}

func startS3() (*S3, error) {
	program, err := versitygw()
	if err != nil {
		return nil, err
	}
	address, err := freeAddress()
	if err != nil {
		return nil, err
	}
	dir, err := dataDir("s3", nil)
	if err != nil {
		return nil, err
	}
	data, accounts, versions := filepath.Join(dir, "data"), filepath.Join(dir, "accounts"), filepath.Join(dir, "versions")
	guest := fmt.Sprintf(`{"accessAccounts":{%[1]q:{"access":%[1]q,"secret":%[2]q,"role":"user"}}}`, GuestAccessKey, GuestSecretKey)
	if err := errors.Join(os.Mkdir(data, 0o755), os.Mkdir(accounts, 0o755), os.Mkdir(versions, 0o755), os.WriteFile(filepath.Join(accounts, "users.json"), []byte(guest), 0o600)); err != nil {
		return nil, err
	}
	server := &S3{dir: dir, Server: Server{
		name: "versitygw", Address: address,
		command: func() *exec.Cmd {
			cmd := exec.Command(program, "--port", address, "--quiet", "--keep-alive", "--access", AccessKey, "--secret", SecretKey, "--iam-dir", accounts, "posix", "--versioning-dir", versions, data)
			cmd.Dir = dir
			return cmd
		},
		ready: func() error { return answers(address) },
	}}
	server.client = s3.New(s3.Options{
		Region: "us-east-1", BaseEndpoint: aws.String("http://" + address), UsePathStyle: true,
		Credentials: credentials.NewStaticCredentialsProvider(AccessKey, SecretKey, ""),
	})
	return server, server.start()
}

func (s *S3) remove() {
	s.Stop()
	os.RemoveAll(s.dir)
}

// Bucket makes a new bucket.
func (s *S3) Bucket(t testing.TB) config.Bucket {
	t.Helper()
	name := fmt.Sprintf("bucket-%d", buckets.Add(1))
	if _, err := s.client.CreateBucket(context.Background(), &s3.CreateBucketInput{Bucket: &name}); err != nil {
		t.Fatal(err)
	}
	return config.Bucket{Name: name, Region: "us-east-1", Endpoint: "http://" + s.Address, AccessKey: AccessKey, SecretKey: SecretKey}
}

// LockedBucket makes a new bucket with Object Lock, and so with versions: what is written stays for a day, and nobody can shorten that.
func (s *S3) LockedBucket(t testing.TB) config.Bucket {
	t.Helper()
	name := fmt.Sprintf("bucket-%d", buckets.Add(1))
	if _, err := s.client.CreateBucket(context.Background(), &s3.CreateBucketInput{Bucket: &name, ObjectLockEnabledForBucket: aws.Bool(true)}); err != nil {
		t.Fatal(err)
	}
	if _, err := s.client.PutObjectLockConfiguration(context.Background(), &s3.PutObjectLockConfigurationInput{Bucket: &name, ObjectLockConfiguration: &types.ObjectLockConfiguration{
		ObjectLockEnabled: types.ObjectLockEnabledEnabled,
		Rule:              &types.ObjectLockRule{DefaultRetention: &types.DefaultRetention{Mode: types.ObjectLockRetentionModeCompliance, Days: aws.Int32(1)}},
	}}); err != nil {
		t.Fatal(err)
	}
	return config.Bucket{Name: name, Region: "us-east-1", Endpoint: "http://" + s.Address, AccessKey: AccessKey, SecretKey: SecretKey}
}

// Grant makes the rights, such as s3:PutObject, all that the guest has in a bucket and on its objects.
func (s *S3) Grant(t testing.TB, bucket string, rights ...string) {
	t.Helper()
	list, err := json.Marshal(rights)
	if err != nil {
		t.Fatal(err)
	}
	policy := fmt.Sprintf(`{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"AWS":[%[1]q]},"Action":%[2]s,"Resource":["arn:aws:s3:::%[3]s","arn:aws:s3:::%[3]s/*"]}]}`,
		GuestAccessKey, list, bucket)
	if _, err := s.client.PutBucketPolicy(context.Background(), &s3.PutBucketPolicyInput{Bucket: &bucket, Policy: &policy}); err != nil {
		t.Fatal(err)
	}
}

// Keys lists the objects of a bucket, and the multipart uploads that were not completed as "upload:KEY".
func (s *S3) Keys(t testing.TB, bucket string) []string {
	t.Helper()
	objects, err := s.client.ListObjectsV2(context.Background(), &s3.ListObjectsV2Input{Bucket: &bucket})
	if err != nil {
		t.Fatal(err)
	}
	var keys []string
	for _, o := range objects.Contents {
		keys = append(keys, *o.Key)
	}
	uploads, err := s.client.ListMultipartUploads(context.Background(), &s3.ListMultipartUploadsInput{Bucket: &bucket})
	if err != nil {
		t.Fatal(err)
	}
	for _, u := range uploads.Uploads {
		keys = append(keys, "upload:"+*u.Key)
	}
	return keys
}

// Damage changes a byte of an object behind the server's back, as a bad disk would.
func (s *S3) Damage(t testing.TB, bucket, key string) {
	t.Helper()
	path := filepath.Join(s.dir, "data", bucket, filepath.FromSlash(key))
	file, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	var one [1]byte
	_, err = file.ReadAt(one[:], 100)
	one[0] ^= 0xff
	if err == nil {
		_, err = file.WriteAt(one[:], 100)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// Age moves the time of an object back, as a server's clock would that is slow.
func (s *S3) Age(t testing.TB, bucket, key string, by time.Duration) {
	t.Helper()
	path := filepath.Join(s.dir, "data", bucket, filepath.FromSlash(key))
	then := time.Now().Add(-by)
	if err := os.Chtimes(path, then, then); err != nil {
		t.Fatal(err)
	}
}

// Client is a client of the server, for tests that look into it.
func (s *S3) Client() *s3.Client { return s.client }

// versitygw is the path of the program: VERSITYGW, or what hack/images builds.
var versitygw = sync.OnceValues(func() (string, error) {
	if path := os.Getenv("VERSITYGW"); path != "" {
		return path, nil
	}
	out, err := exec.Command(filepath.Join(checkout.Root(), "hack", "images", "build"), "s3-binary").Output()
	if err != nil {
		return "", fmt.Errorf("build versitygw with hack/images/build s3-binary (hack/deps installs what it needs), or set VERSITYGW: %w", err)
	}
	return strings.TrimSpace(string(out)), nil
})
