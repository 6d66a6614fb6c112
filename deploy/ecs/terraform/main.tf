# keepwarm on ECS for those who use Terraform: the policy of its task, and the stack of ../keepwarm.yaml as it is, so that
# there is one description of the service and not two that drift apart.

terraform {
  required_version = ">= 1.5"
  required_providers {
    aws = {
      source  = "hashicorp/aws"
      version = ">= 5.0"
    }
  }
}

variable "name" {
  type        = string
  default     = "keepwarm"
  description = "Of the stack, its service and its log group."
}

variable "ping_policy" {
  type        = string
  description = "What `keepwarm iam-policy` printed: file(\"policy.json\")."
}

variable "parameters" {
  type        = map(string)
  description = "The parameters of ../keepwarm.yaml except PingPolicyArn; VpcId, SubnetA, SubnetB, Image and TokenSecretArn at least."

  validation {
    condition     = alltrue([for name in ["VpcId", "SubnetA", "SubnetB", "Image", "TokenSecretArn"] : contains(keys(var.parameters), name)])
    error_message = "VpcId, SubnetA, SubnetB, Image and TokenSecretArn are needed."
  }
}

variable "notification_arns" {
  type        = list(string)
  default     = []
  description = "SNS topics that are told of changes of the stack."
}

resource "aws_iam_policy" "ping" {
  name        = "${var.name}-ping"
  description = "What keepwarm needs for its registry, as keepwarm iam-policy prints it"
  policy      = var.ping_policy
}

resource "aws_cloudformation_stack" "keepwarm" {
  #checkov:skip=CKV_AWS_124:who is told is the caller's choice, by notification_arns
  name              = var.name
  template_body     = file("${path.module}/../keepwarm.yaml")
  capabilities      = ["CAPABILITY_IAM"]
  notification_arns = var.notification_arns
  parameters        = merge(var.parameters, { PingPolicyArn = aws_iam_policy.ping.arn })
}

output "stack" {
  value       = aws_cloudformation_stack.keepwarm.outputs
  description = "Names of the cluster, the service, its roles, security group and log group."
}
