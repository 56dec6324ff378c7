// From a definition in crds/ to the CustomResourceDefinition: zod's JSON schema made structural, as
// Kubernetes asks (no anyOf, no additionalProperties: false, metadata left to the API server), with
// the rules and list types of the definition put in their places.
import { z } from "zod";
import type { CrdDefinition } from "../crds/definitions.ts";
import { OBJECT_NAME, OBJECT_NAME_LENGTH_MAX, WEIR_API } from "../crds/common-fields.ts";

/** A structural schema: only the keywords that a CRD may hold. */
const keywords = z.strictObject({
  type: z.enum(["object", "array", "string", "integer", "boolean"]),
  description: z.string().optional(),
  default: z.union([z.string(), z.number(), z.boolean()]).optional(),
  enum: z.array(z.string()).optional(),
  format: z.string().optional(),
  minLength: z.number().optional(),
  maxLength: z.number().optional(),
  pattern: z.string().optional(),
  minimum: z.number().optional(),
  maximum: z.number().optional(),
  minItems: z.number().optional(),
  maxItems: z.number().optional(),
  required: z.array(z.string()).optional(),
});
const schemaNode = keywords.extend({
  get properties() {
    return z.record(z.string(), schemaNode).optional();
  },
  get items() {
    return schemaNode.optional();
  },
});
type SchemaNode = z.infer<typeof schemaNode>;

/** The object to write as YAML. */
export function customResourceDefinition(definition: CrdDefinition): object {
  const { kind, plural, shortName, selectableFields } = definition;
  return {
    apiVersion: "apiextensions.k8s.io/v1",
    kind: "CustomResourceDefinition",
    metadata: {
      name: `${plural}.${WEIR_API.group}`,
      annotations: {
        // Deleting the release must not delete every volume.
        "helm.sh/resource-policy": "keep",
      },
    },
    spec: {
      group: WEIR_API.group,
      scope: "Cluster",
      names: {
        kind,
        listKind: `${kind}List`,
        plural,
        singular: kind.toLowerCase(),
        shortNames: [shortName],
        categories: ["weir"],
      },
      versions: [
        {
          name: WEIR_API.version,
          served: true,
          storage: true,
          subresources: { status: {} },
          additionalPrinterColumns: definition.columns,
          selectableFields: selectableFields.map((jsonPath) => ({ jsonPath })),
          schema: { openAPIV3Schema: objectSchema(definition) },
        },
      ],
    },
  };
}

function objectSchema(definition: CrdDefinition): object {
  const converted = z.toJSONSchema(definition.schema, { io: "input", target: "openapi-3.0" });
  const root = schemaNode.parse(converted);
  const used = new Set<string>();
  const structural = convert(root, "", (path) => {
    used.add(path);
    return definition.additions[path];
  });
  for (const path of Object.keys(definition.additions)) {
    if (!used.has(path)) throw new Error(`${definition.kind} has no "${path}" to put rules on.`);
  }
  const { properties, ...rest } = structural;
  return {
    ...rest,
    description: definition.description,
    required: ["spec"],
    properties: {
      apiVersion: { type: "string" },
      kind: { type: "string" },
      // Of metadata, a CRD may only bound the name.
      metadata: {
        type: "object",
        properties: {
          name: { type: "string", maxLength: OBJECT_NAME_LENGTH_MAX, pattern: OBJECT_NAME.source },
        },
      },
      ...properties,
    },
  };
}

type AdditionAt = (path: string) => CrdDefinition["additions"][string] | undefined;

interface Structural {
  readonly properties?: Readonly<Record<string, object>>;
  readonly [keyword: string]: unknown;
}

function convert(node: SchemaNode, path: string, additionAt: AdditionAt): Structural {
  const { properties, items, ...plain } = node;
  refuseUnbounded(node, path);
  const below = (name: string): string => (path === "" ? name : `${path}.${name}`);
  return {
    ...plain,
    ...(node.type === "integer" ? { format: "int64" } : {}),
    ...(properties === undefined
      ? {}
      : {
          properties: Object.fromEntries(
            Object.entries(properties).map(([name, child]) => [
              name,
              convert(child, below(name), additionAt),
            ]),
          ),
        }),
    ...(items === undefined ? {} : { items: convert(items, `${path}[]`, additionAt) }),
    ...added(node, additionAt(path)),
  };
}

/** Without bounds, the API server takes a rule to be dearer than it allows. */
function refuseUnbounded(node: SchemaNode, path: string): void {
  const bounded =
    (node.type !== "string" || node.maxLength !== undefined || node.enum !== undefined) &&
    (node.type !== "array" || node.maxItems !== undefined);
  if (!bounded) throw new Error(`"${path}" needs a bound: .max(...)`);
}

function added(node: SchemaNode, addition: ReturnType<AdditionAt>): object {
  const { rules, list } = addition ?? {};
  return {
    ...(node.type === "array" ? { "x-kubernetes-list-type": listType(list) } : {}),
    ...(typeof list === "object" ? { "x-kubernetes-list-map-keys": list.mapKeys } : {}),
    ...(rules === undefined ? {} : { "x-kubernetes-validations": rules }),
  };
}

function listType(list: { readonly mapKeys: readonly string[] } | "set" | undefined): string {
  if (list === "set") return "set";
  return list === undefined ? "atomic" : "map";
}
