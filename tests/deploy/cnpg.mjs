// Tells, a line each, what the schemas of CloudNativePG say against the object that comes in as JSON.
import { readFileSync } from "node:fs";
import * as schemas from "@kubernetes-models/cloudnative-pg/postgresql.cnpg.io/v1";

const object = JSON.parse(readFileSync(0, "utf8"));

// Kubernetes throws away what a schema does not know, and the schema looks at what it knows alone.
const looked = new Set();
const watched = (value, path) =>
  value === null || typeof value !== "object"
    ? value
    : new Proxy(value, {
        get(of, name) {
          if (typeof name === "string" && Object.hasOwn(of, name) && !(Array.isArray(of) && name === "length")) {
            looked.add(`${path}/${name}`);
            return watched(of[name], `${path}/${name}`);
          }
          return Reflect.get(of, name);
        },
      });
const paths = (value, path) =>
  value === null || typeof value !== "object"
    ? []
    : Object.entries(value).flatMap(([name, inner]) => [`${path}/${name}`, ...paths(inner, `${path}/${name}`)]);

const schema = schemas[object.kind];
if (schema === undefined || schema.apiVersion !== object.apiVersion) {
  console.log(`no schema for ${object.apiVersion} ${object.kind}`);
} else {
  try {
    schema.prototype.validate.call(watched(object, ""));
    for (const path of paths(object, "")) if (!looked.has(path)) console.log(`${path} is unknown`);
  } catch (fault) {
    console.log(fault.message);
  }
}
