package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	utilyaml "k8s.io/apimachinery/pkg/util/yaml"
	"sigs.k8s.io/controller-runtime/pkg/client"
	kjson "sigs.k8s.io/json"
	"sigs.k8s.io/yaml"

	assetv1 "github.com/assetplatform/assetplatform/api/v1alpha1"
	"github.com/assetplatform/assetplatform/internal/config"
	"github.com/assetplatform/assetplatform/internal/manifests"
)

func newPlanCommand() *cobra.Command {
	var file string
	var offline bool
	var images manifests.Images
	cmd := &cobra.Command{
		Use:   config.CommandPlan + " -f FILE --offline",
		Short: "Print every object that the operator would apply for an AssetPlatform",
		Long: `Print every object that the operator would apply for an AssetPlatform, as one
YAML stream in the order in which it is applied. Of a live one, the images that
its status pins count as they do for the operator:
kubectl get ap -A -o yaml | assetplatform plan -f - --offline

Secrets are shown without values. A name that ends in the hash of secret values
differs from the cluster's, because the values are not known here.

Whether the AssetPlatform would be admitted, the apiserver alone can say:
kubectl apply --dry-run=server -f FILE`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if !offline {
				return errors.New("a plan is made from the file alone: add --offline")
			}
			platforms, err := readPlatforms(file, cmd.InOrStdin())
			if err != nil {
				return err
			}
			for _, ap := range platforms {
				if err := writePlan(cmd.OutOrStdout(), ap, images); err != nil {
					return err
				}
			}
			return nil
		},
	}
	cmd.Flags().StringVarP(&file, "filename", "f", "", "file with the AssetPlatform; - for standard input")
	cmd.Flags().BoolVar(&offline, "offline", false, "do not ask a cluster")
	addImageFlags(cmd, &images)
	_ = cmd.MarkFlagRequired("filename")
	return cmd
}

// readPlatforms reads the AssetPlatforms of a file, which may hold other objects as
// well. A field that an AssetPlatform does not have is an error, as at admission.
func readPlatforms(file string, stdin io.Reader) ([]*assetv1.AssetPlatform, error) {
	text, err := readFile(file, stdin)
	if err != nil {
		return nil, err
	}
	var platforms []*assetv1.AssetPlatform
	documents := utilyaml.NewYAMLReader(bufio.NewReader(bytes.NewReader(text)))
	for {
		document, err := documents.Read()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, fmt.Errorf("%s: %w", file, err)
		}
		found, err := platformsIn(document)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", file, err)
		}
		platforms = append(platforms, found...)
	}
	if len(platforms) == 0 {
		return nil, fmt.Errorf("%s: holds no AssetPlatform of %s", file, assetv1.GroupVersion)
	}
	return platforms, nil
}

// platformsIn are the AssetPlatforms of one document: itself, or those of a list as kubectl get prints it.
func platformsIn(document []byte) ([]*assetv1.AssetPlatform, error) {
	var kind metav1.TypeMeta
	if err := yaml.Unmarshal(document, &kind); err != nil {
		return nil, err
	}
	switch kind {
	case metav1.TypeMeta{Kind: "AssetPlatform", APIVersion: assetv1.GroupVersion.String()}:
		ap, err := parsePlatform(document)
		return []*assetv1.AssetPlatform{ap}, err
	case metav1.TypeMeta{Kind: "List", APIVersion: "v1"}:
		return platformsOf(document)
	}
	return nil, nil
}

func platformsOf(list []byte) ([]*assetv1.AssetPlatform, error) {
	text, err := yaml.YAMLToJSONStrict(list)
	if err != nil {
		return nil, err
	}
	var content struct {
		Items []json.RawMessage `json:"items"`
	}
	if err := json.Unmarshal(text, &content); err != nil {
		return nil, err
	}
	var platforms []*assetv1.AssetPlatform
	for i, item := range content.Items {
		found, err := platformsIn(item)
		if err != nil {
			return nil, fmt.Errorf("items[%d]: %w", i, err)
		}
		platforms = append(platforms, found...)
	}
	return platforms, nil
}

func parsePlatform(document []byte) (*assetv1.AssetPlatform, error) {
	text, err := yaml.YAMLToJSONStrict(document)
	if err != nil {
		return nil, err
	}
	ap := &assetv1.AssetPlatform{}
	unknown, err := kjson.UnmarshalStrict(text, ap)
	if err := errors.Join(append(unknown, err)...); err != nil {
		return nil, err
	}
	if ap.Name == "" {
		return nil, errors.New("metadata.name is missing")
	}
	if ap.Namespace == "" {
		ap.Namespace = metav1.NamespaceDefault
	}
	ap.UID = "unknown" // owner references show that the children go with the platform
	return ap, nil
}

func readFile(file string, stdin io.Reader) ([]byte, error) {
	if file == "-" {
		return io.ReadAll(stdin)
	}
	return os.ReadFile(file)
}

func writePlan(w io.Writer, ap *assetv1.AssetPlatform, images manifests.Images) error {
	facts := manifests.OfflineFacts(ap, images)
	objects, job := manifests.Plan(ap, facts)
	var stream bytes.Buffer
	for _, o := range append(objects, client.Object(job)) {
		text, err := manifests.PlanYAML(o)
		if err != nil {
			return err
		}
		stream.WriteString("---\n")
		stream.Write(text)
	}
	_, err := w.Write(stream.Bytes())
	return err
}
